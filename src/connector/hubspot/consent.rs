//! What a form says and asks about consent (`legalConsentOptions`).
//!
//! The keys made here are the contract with write-back, which finds the exact texts by them: `consent/process` and
//! `consent/communication/{subscription}` are ticked, `consent/implicit` and `consent/legitimate/{basis}/{subscription}`
//! are shown.

use serde_json::Value;

use super::source::scalar;
use super::{Dialect, Reader, html, statement, unsupported};
use crate::connector::json::{flag, list, text};
use crate::form::{Kind, Question};

/// The consent of a form, from either shape. Texts are HTML.
#[derive(Default)]
struct Consent {
    kind: String,
    basis: String,
    subscriptions: Vec<String>,
    /// Subscription, label, required.
    boxes: Vec<(Option<String>, Option<String>, bool)>,
    communication: Option<String>,
    process: Option<String>,
    label: Option<String>,
    footer: Option<String>,
    privacy: Option<String>,
}

fn member(json: &Value, name: &str) -> Option<String> {
    text(json, name).map(str::to_owned)
}

impl Consent {
    fn v3(json: &Value) -> Consent {
        let one = |json: &Value| {
            (scalar(json.get("subscriptionTypeId")), member(json, "label"), flag(json, "required"))
        };
        Consent {
            kind: member(json, "type").unwrap_or_else(|| "none".to_owned()),
            basis: member(json, "lawfulBasis").unwrap_or_default(),
            subscriptions: list(json, "subscriptionTypeIds")
                .iter()
                .filter_map(|id| scalar(Some(id)))
                .collect(),
            boxes: list(json, "communicationsCheckboxes").iter().map(one).collect(),
            communication: member(json, "communicationConsentText"),
            process: member(json, "consentToProcessText"),
            label: member(json, "consentToProcessCheckboxLabel"),
            footer: member(json, "consentToProcessFooterText"),
            privacy: member(json, "privacyText"),
        }
    }

    /// The words of v2 and of the embed, as those of v3.
    fn v2(json: &Value) -> Consent {
        let one = |json: &Value| {
            (scalar(json.get("communicationTypeId")), member(json, "label"), flag(json, "required"))
        };
        let processing = text(json, "processingConsentType").unwrap_or_default();
        let kind = match processing {
            _ if flag(json, "isLegitimateInterest") => "legitimate_interest",
            "IMPLICIT" => "implicit_consent_to_process",
            "REQUIRED_CHECKBOX" => "explicit_consent_to_process",
            other => other,
        };
        let basis = match text(json, "legitimateInterestLegalBasis").unwrap_or_default() {
            "LEGITIMATE_INTEREST_PQL" => "lead",
            "LEGITIMATE_INTEREST_CLIENT" => "client",
            "LEGITIMATE_INTEREST_OTHER" => "other",
            other => other,
        };
        let subscriptions = list(json, "legitimateInterestSubscriptionTypes");
        Consent {
            kind: if kind.is_empty() { "without a type" } else { kind }.to_owned(),
            basis: basis.to_owned(),
            subscriptions: subscriptions.iter().filter_map(|id| scalar(Some(id))).collect(),
            boxes: list(json, "communicationConsentCheckboxes").iter().map(one).collect(),
            communication: member(json, "communicationConsentText"),
            process: member(json, "processingConsentText"),
            label: member(json, "processingConsentCheckboxLabel"),
            footer: member(json, "processingConsentFooterText"),
            privacy: member(json, "privacyPolicyText"),
        }
    }
}

impl Reader {
    /// The questions and texts of consent, which stand at the end of a form.
    pub(super) fn consent(&mut self, form: &Value, dialect: Dialect) -> Vec<Question> {
        let consent = match dialect {
            Dialect::V3 => match form.get("legalConsentOptions") {
                None | Some(Value::Null) => return Vec::new(),
                Some(options) => Consent::v3(options),
            },
            Dialect::V2 => {
                let entries = list(form, "metaData").iter();
                let mut entries = entries.filter(|entry| text(entry, "name") == Some("legalConsentOptions"));
                let Some(written) = entries.next().and_then(|entry| text(entry, "value")) else {
                    return Vec::new();
                };
                match serde_json::from_str::<Value>(written) {
                    Ok(Value::Object(options)) if options.is_empty() => return Vec::new(),
                    Ok(options) if options.is_object() => Consent::v2(&options),
                    _ => Consent { kind: "a damaged text".to_owned(), ..Consent::default() },
                }
            }
        };
        match consent.kind.as_str() {
            "none" => Vec::new(),
            "legitimate_interest" => self.legitimate(&consent),
            "implicit_consent_to_process" => self.asked(&consent, false),
            "explicit_consent_to_process" => self.asked(&consent, true),
            other => {
                let what = format!("HubSpot's kind of consent “{other}” is not known, so it cannot be asked");
                vec![self.blocked("consent/process", &what)]
            }
        }
    }

    /// Something that must be asked and cannot: the form cannot be published so.
    fn blocked(&mut self, key: &str, what: &str) -> Question {
        self.lost(format!("question.{key}"), "Consent", what);
        Question { required: true, ..unsupported(key, "Consent", "consent") }
    }

    fn legitimate(&mut self, consent: &Consent) -> Vec<Question> {
        let text = self.said(consent.privacy.as_deref(), "consent/legitimate");
        let (Some(text), Some(subscription)) = (text, consent.subscriptions.first()) else {
            let what =
                "legitimate interest needs a privacy text and a subscription; the definition has not both";
            return vec![self.blocked("consent/legitimate", what)];
        };
        let key = format!("consent/legitimate/{}/{subscription}", consent.basis);
        if consent.subscriptions.len() > 1 {
            let what = format!(
                "HubSpot takes one subscription with a submission: {subscription} is recorded, {} are not",
                consent.subscriptions.get(1..).unwrap_or_default().join(", ")
            );
            self.changed(format!("question.{key}"), "Legitimate interest", &what);
        }
        if !consent.boxes.is_empty() {
            let what = "its boxes for communication belong to another kind of consent and are not asked";
            self.changed(format!("question.{key}"), "Legitimate interest", what);
        }
        vec![statement(&key, String::new(), text)]
    }

    fn asked(&mut self, consent: &Consent, explicit: bool) -> Vec<Question> {
        let mut questions = Vec::new();
        let show = |questions: &mut Vec<Question>, key: &str, text: Option<String>| {
            questions.extend(text.map(|text| statement(key, String::new(), text)));
        };
        let communication = self.said(consent.communication.as_deref(), "consent/text/communication");
        show(&mut questions, "consent/text/communication", communication);
        self.boxes(consent, &mut questions);
        let process = self.said(consent.process.as_deref(), "consent/text/process");
        let label = self.said(consent.label.as_deref(), "consent/process");
        if explicit {
            let (above, label) = if label.is_some() { (process, label) } else { (None, process) };
            show(&mut questions, "consent/text/process", above);
            questions.push(match label {
                Some(label) => ticked("consent/process", label, true),
                None => self.blocked("consent/process", "consent is asked for without any text to agree to"),
            });
            let footer = self.said(consent.footer.as_deref(), "consent/text/footer");
            show(&mut questions, "consent/text/footer", footer);
        } else {
            questions.push(match process {
                Some(text) => statement("consent/implicit", String::new(), text),
                None => {
                    let what = "who submits consents, but the definition has no text that says so";
                    self.blocked("consent/implicit", what)
                }
            });
        }
        let privacy = self.said(consent.privacy.as_deref(), "consent/text/privacy");
        show(&mut questions, "consent/text/privacy", privacy);
        questions
    }

    fn boxes(&mut self, consent: &Consent, questions: &mut Vec<Question>) {
        for (number, (subscription, label, required)) in consent.boxes.iter().enumerate() {
            let place = format!("consent/communication/{}", subscription.as_deref().unwrap_or_default());
            let label = self.said(label.as_deref(), &place);
            let is_new = questions.iter().all(|question| question.key != place);
            match (subscription, label) {
                (Some(_), Some(label)) if is_new => questions.push(ticked(&place, label, *required)),
                (Some(_), Some(label)) => {
                    let what = "a second box for the same subscription, which HubSpot would refuse";
                    self.lost(format!("question.{place}"), &label, what);
                }
                (_, label) => {
                    let key = format!("consent/communication-{}", number + 1);
                    let what = "a box for communication without a subscription or without a text";
                    let blocked = self.blocked(&key, what);
                    if *required {
                        questions.push(Question { title: label.unwrap_or(blocked.title), ..blocked });
                    }
                }
            }
        }
    }

    /// A text as it is shown; write-back sends the same.
    fn said(&mut self, source: Option<&str>, key: &str) -> Option<String> {
        let read = html::read(source?);
        self.pictures(read.pictures, key, "Consent");
        Some(super::literal(&read.text())).filter(|text| !text.is_empty())
    }
}

/// A consent; the text is its title too, so that a submission names what was agreed to.
pub(super) fn ticked(key: &str, text: String, required: bool) -> Question {
    let kind = Kind::Consent { text: text.clone(), version: None, link: None };
    Question { required, ..super::question(key, text, kind) }
}
