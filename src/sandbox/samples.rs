//! The forms that a sandbox has from the beginning: two for each tool, and a sheet for one of them.

use serde_json::Value;

use super::library::Library;

const FORMS: [(&str, &str); 8] = [
    ("hubspot", include_str!("../../assets/sandbox/hubspot-quote.json")),
    ("hubspot", include_str!("../../assets/sandbox/hubspot-repair.json")),
    ("google-forms", include_str!("../../assets/sandbox/google-class.json")),
    ("google-forms", include_str!("../../assets/sandbox/google-lunch.json")),
    ("typeform", include_str!("../../assets/sandbox/typeform-visit.json")),
    ("typeform", include_str!("../../assets/sandbox/typeform-rating.json")),
    ("surveymonkey", include_str!("../../assets/sandbox/surveymonkey-course.json")),
    ("surveymonkey", include_str!("../../assets/sandbox/surveymonkey-quick.json")),
];

/// The tool and the id of the form of each that examples are about.
pub const EXAMPLES: [(&str, &str); 4] = [
    ("hubspot", "7a1e0c5d-3b42-4c1f-8d6e-5f2a9b7c4e01"),
    ("google-forms", "1sandboxPotteryClassForm"),
    ("typeform", "SbxVisit"),
    ("surveymonkey", "700100"),
];

/// The id of the sheet that the Google form's responses can go to.
pub const SHEET: &str = "1sandboxPotteryClassSheet";

/// The first row of that sheet.
pub(super) const SHEET_HEADER: [&str; 7] = [
    "Timestamp",
    "Your name",
    "Have you worked with clay before?",
    "Which evenings suit you?",
    "From when?",
    "How easy was this form?",
    "wa_submission_id",
];

/// Puts the forms into a library.
pub(super) fn fill(library: &Library) {
    for (tool, text) in FORMS {
        let definition: Value = serde_json::from_str(text).expect("a constant that the tests read");
        library.put(tool, definition);
    }
}
