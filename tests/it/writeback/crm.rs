//! Contacts and objects in the sandbox's CRM.

use formgate::connector::hubspot::crm::{Crm, Object};
use formgate::form::mapping::Step;
use formgate::outbox::{Answer, Destination as _, Grade, Outcome, Submission, Verdict, mapped};
use formgate::sandbox::hubspot::crm::Crm as Account;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{answer, api, deliver, held, id, refused, submission};

pub struct Running {
    pub account: Account,
    pub destination: Crm,
    _stop: watch::Sender<bool>,
}

pub async fn start() -> Running {
    let properties = ["firstname", "tags", "since", "vip", "guests", "rates", "cv"];
    let account = Account::new("pat-eu1-1234", &properties);
    account.define("2-7654321", "wa_submission_id", &["room", "price"]);
    let (stop, stopped) = watch::channel(false);
    let address = account.serve(stopped).await.expect("a port");
    let object = Object { kind: "2-7654321".to_owned(), id_property: "wa_submission_id".to_owned() };
    let destination = Crm { id: id(), api: api(address, "pat-eu1-1234"), object: Some(object) };
    Running { account, destination, _stop: stop }
}

/// One answer of each kind, under the names of properties.
pub fn filled() -> Submission {
    let mut rates = answer("rates", "matrix", json!({"a": ["b"]}));
    rates.text = "Clay: Good".to_owned();
    submission(vec![
        answer("email", "email", json!("ada@example.org")),
        answer("0-1/firstname", "short_text", json!("Ada")),
        answer("tags", "multiple_choice", json!(["a", "b"])),
        answer("since", "date", json!("2027-03-28")),
        answer("vip", "yes_no", json!(true)),
        answer("guests", "number", json!(2)),
        rates,
        answer("cv", "file", json!([{"name": "cv.pdf", "url": "https://files.example.com/cv"}])),
        answer("2-7654321/room", "single_choice", json!("blue")),
        answer("2-7654321/price", "number", json!(12.5)),
    ])
}

#[tokio::test]
async fn a_contact_and_its_object_are_made_once_and_changed_afterwards() {
    let running = start().await;
    assert_eq!(running.destination.grade(), Grade::C);
    for _ in 0..2 {
        assert_eq!(deliver(&running.destination, &filled(), false).await, Outcome::delivered(Some(200)));
    }
    let text = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let contact = [
        ("cv", "https://files.example.com/cv"),
        ("email", "ada@example.org"),
        ("firstname", "Ada"),
        ("guests", "2"),
        ("rates", "Clay: Good"),
        ("since", "1806192000000"),
        ("tags", "a;b"),
        ("vip", "true"),
    ];
    assert_eq!(running.account.records("contacts"), [text(&contact)]);
    let id = filled().id.to_string();
    let object = [("price", "12.5"), ("room", "blue"), ("wa_submission_id", id.as_str())];
    assert_eq!(running.account.records("2-7654321"), [text(&object)]);
    assert_eq!(running.account.associations(), [("contacts/1001".to_owned(), "2-7654321/1001".to_owned())]);
    let mut second = filled();
    second.id = formgate::outbox::SubmissionId::new(uuid::Uuid::new_v8([9; 16]));
    second.answers[1].value = json!("Ada Lovelace");
    // A lost answer at each of the three calls changes nothing: all of it can be done again.
    for faults in [vec![502], vec![200, 502], vec![200, 200, 502]] {
        running.account.fail(faults);
        let lost = deliver(&running.destination, &second, false).await;
        assert_eq!(lost, Outcome::retry("status", Some(502), None));
    }
    assert_eq!(deliver(&running.destination, &second, true).await, Outcome::delivered(Some(200)));
    assert_eq!(running.account.records("contacts").len(), 1);
    assert_eq!(running.account.records("contacts")[0]["firstname"], "Ada Lovelace");
    assert_eq!((running.account.records("2-7654321").len(), running.account.associations().len()), (2, 2));
}

#[tokio::test]
async fn what_has_no_property_or_no_address_is_refused_by_name() {
    let running = start().await;
    let with = |key: &str, value: Value| {
        let mut submission = filled();
        submission.answers.retain(|answer| answer.key != key);
        if !value.is_null() {
            let question = format!("Thanks canary, what is your {key}?");
            submission.answers.push(Answer { question, ..answer(key, "short_text", value) });
        }
        submission
    };
    for (submission, words) in [
        (with("email", Value::Null), "no e-mail address"),
        (with("email", json!("canary")), "property email (INVALID_EMAIL)"),
        (with("shoe_size", json!("canary")), "property shoe_size (PROPERTY_DOESNT_EXIST)"),
        (with("0-2/name", json!("canary")), "“0-2/name” has no property"),
        (with("tags", json!([{"canary": 1}])), "“tags” has an answer of a kind"),
    ] {
        let outcome = deliver(&running.destination, &submission, false).await;
        let (class, reason) = refused(&outcome);
        assert!(class == "mapping" && reason.contains(words), "{class}: {reason}");
        assert!(!reason.contains("canary"), "{reason}");
    }
    assert!(running.account.records("contacts").is_empty());
}

#[tokio::test]
async fn a_file_that_was_refused_is_left_out_and_the_rest_is_written() {
    let running = start().await;
    let refused = json!({"name": "b.pdf", "refused": "hash", "reason": "the hash is another"});
    let kept = json!({"name": "a.pdf", "url": "https://files.example.com/a"});
    for (items, cv) in [
        (json!([kept, refused]), Some("https://files.example.com/a")),
        // What the contact had before stays.
        (json!([refused]), Some("https://files.example.com/a")),
        (json!([{"name": "c.pdf", "pending": true}]), Some("https://files.example.com/a")),
    ] {
        let mut submission = filled();
        submission.answers.retain(|answer| answer.key != "cv");
        submission.answers.push(answer("cv", "file", items));
        let outcome = deliver(&running.destination, &submission, false).await;
        assert_eq!(outcome, Outcome::delivered(Some(200)));
        let contact = running.account.records("contacts").remove(0);
        assert_eq!((contact.get("cv").map(String::as_str), contact["firstname"].as_str()), (cv, "Ada"));
    }
}

#[tokio::test]
async fn scopes_and_tokens_park_and_limits_wait() {
    let running = start().await;
    running.account.fail([429, 477]);
    let limited = deliver(&running.destination, &filled(), false).await;
    assert_eq!(limited, Outcome::retry("rate", Some(429), Some(10_000)));
    assert_eq!(
        deliver(&running.destination, &filled(), false).await,
        Outcome::retry("moving", Some(477), None)
    );
    running.account.withdraw("crm.objects.custom.write");
    assert!(
        held(&deliver(&running.destination, &filled(), false).await).1.contains("crm.objects.custom.write")
    );
    let mut stranger = start().await;
    stranger.destination.api.tokens = std::sync::Arc::new(secrecy::SecretString::from("pat-other"));
    assert_eq!(held(&deliver(&stranger.destination, &filled(), false).await).0, "reconnect");
}

#[tokio::test]
async fn a_form_of_another_tool_fits_when_every_question_is_mapped_or_dropped() {
    let running = start().await;
    let form = json!({"id": "f", "title": "F", "pages": [{"id": "p", "questions": [
        {"key": "q1", "title": "Your address", "type": "email"},
        {"key": "q2", "title": "Your name", "type": "short_text"},
        {"key": "q3", "title": "Anything else?", "type": "long_text"},
    ]}]});
    let form = formgate::connector::connector("form").expect("a reader").read(form.to_string().as_bytes());
    let form = form.expect("a form").form;
    let rename = |to: &str| Step::Rename(to.to_owned());
    let step = |name: &str, step: Step| (name.to_owned(), step);
    let mut mapping = vec![step("q1", rename("email")), step("q2", rename("firstname"))];
    assert!(
        running.destination.fit(&form, &mapping).is_err_and(|reason| reason.contains("“Anything else?”"))
    );
    mapping.push(step("q3", Step::Drop));
    assert_eq!(running.destination.fit(&form, &mapping), Ok(()));
    mapping.push(step("0-2/name", Step::Constant(json!("x"))));
    assert!(running.destination.fit(&form, &mapping).is_err_and(|reason| reason.contains("0-2/name")));
    mapping.pop();
    mapping[0].1 = Step::Drop;
    assert!(running.destination.fit(&form, &mapping).is_err_and(|reason| reason.contains("email")));

    mapping[0].1 = rename("email");
    let sent = submission(vec![
        answer("q1", "email", json!("ada@example.org")),
        answer("q2", "short_text", json!("Ada")),
        answer("q3", "long_text", json!("No")),
    ]);
    let sent = mapped(&sent, &mapping).expect("no name twice").into_owned();
    let destination = Crm { object: None, ..running.destination };
    assert_eq!(deliver(&destination, &sent, false).await.verdict, Verdict::Delivered);
    assert_eq!(running.account.records("contacts")[0].len(), 2);
    assert!(running.account.associations().is_empty());
}
