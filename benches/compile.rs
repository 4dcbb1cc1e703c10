//! How long a large form takes to become a flow, beside the promise: 200 questions with branching in under 5 ms.
//!
//! A marketer sees the fidelity report while editing, and an installation compiles at its start. `cargo bench --bench
//! compile` ends with a failure when the promise is not kept.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use formgate::flow::compile::{Compiled, Mode, Settings, compile};
use formgate::flow::validate::validate;
use formgate::form::Form;
use serde_json::{Value, json};

const PROMISE: Duration = Duration::from_millis(5);
/// Compilations in one batch; the best batch counts, since a busy machine only ever adds time.
const BATCH: usize = 9;
const BATCHES: usize = 60;

/// Pages of ten questions of all usual kinds. Every page decides where the form goes on, shows questions by earlier
/// answers, repeats an answer in a text, and counts points.
fn form(questions: usize) -> Form {
    let pages = questions / 10;
    let page = |page: usize| {
        let key = |question: usize| format!("p{page}q{question}");
        let options: Vec<Value> = (0..5)
            .map(|n| json!({"id": format!("o{n}"), "label": format!("The choice number {n}")}))
            .collect();
        let shown_by = |question: usize, value: Value| json!({"if": {"answer": key(question)}, "op": "is", "value": value});
        let onwards = (page + 2 < pages).then(|| {
            json!({"when": shown_by(1, json!("o4")), "do": {"jump": {"page": format!("page{}", page + 2)}}})
        });
        json!({
            "id": format!("page{page}"), "title": format!("Part {page}"),
            "rules": onwards.into_iter().collect::<Vec<_>>(),
            "questions": [
                {"key": key(0), "title": "What is it called?", "type": "short_text", "max_length": 80, "required": true},
                {"key": key(1), "title": format!("{{{{answer:{}}}}}, of which kind?", key(0)), "type": "single_choice",
                 "required": true, "options": options,
                 "rules": [{"when": shown_by(1, json!("o1")), "do": {"add": ["points", 2]}}]},
                {"key": key(2), "title": "Which kinds besides?", "type": "multiple_choice", "min": 1, "max": 3, "options": options,
                 "visible_if": shown_by(1, json!("o2"))},
                {"key": key(3), "title": "How many?", "type": "number", "min": 0, "max": 1000, "integer": true},
                {"key": key(4), "title": "Since when?", "type": "date", "min": "2020-01-01"},
                {"key": key(5), "title": "Is it urgent?", "type": "yes_no", "required": true},
                {"key": key(6), "title": "Why is it urgent?", "type": "long_text", "max_length": 300, "required": true,
                 "visible_if": {"all": [shown_by(5, json!(true)), {"not": shown_by(1, json!("o3"))}]}},
                {"key": key(7), "title": "Whom do we write to?", "type": "email"},
                {"key": key(8), "title": "How likely are you to ask again?", "type": "nps"},
                {"key": key(9), "title": "How satisfied are you?", "type": "rating", "steps": 5}
            ]
        })
    };
    serde_json::from_value(json!({
        "id": "large", "title": "A large form", "locale": "en",
        "variables": [{"name": "points", "initial": 0}],
        "pages": (0..pages).map(page).collect::<Vec<_>>(),
        "endings": [{"key": "thanks", "title": "Thank you"}]
    }))
    .expect("a form")
}

/// The median of the best batch.
fn measure<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut batch = || {
        let mut took: Vec<Duration> = (0..BATCH)
            .map(|_| {
                let begun = Instant::now();
                let made = black_box(work());
                let took = begun.elapsed();
                drop(made);
                took
            })
            .collect();
        took.sort_unstable();
        took[BATCH / 2]
    };
    (0..BATCHES).map(|_| batch()).min().expect("there are batches")
}

fn main() -> ExitCode {
    let settings = Settings::default();
    println!(
        "{:>9} {:>14} {:>8} {:>11} {:>10} {:>14}",
        "questions", "mode", "screens", "document", "ms", "of the promise"
    );
    let mut is_kept = true;
    for (questions, mode) in
        [(20, Mode::Grouped), (80, Mode::OneQuestion), (100, Mode::Grouped), (200, Mode::Grouped)]
    {
        let (form, settings) = (form(questions), Settings { mode, ..settings.clone() });
        let Compiled { document, report, .. } =
            compile(&form, &settings).unwrap_or_else(|error| panic!("{error}"));
        let took = measure(|| compile(&form, &settings));
        let ratio = took.as_secs_f64() / PROMISE.as_secs_f64();
        is_kept &= ratio < 1.0;
        println!(
            "{questions:>9} {:>14} {:>8} {:>8} kB {:>10.2} {ratio:>14.2}",
            format!("{mode:?}"),
            report.screens,
            document.to_string().len() / 1000,
            took.as_secs_f64() * 1e3
        );
    }
    let large = form(200);
    let document = compile(&large, &settings).expect("compiled above").document;
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    println!(
        "Parts of the largest: check of the form {:.2} ms, Meta's rules {:.2} ms",
        ms(measure(|| large.check())),
        ms(measure(|| validate(&document)))
    );
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
