//! Search among the options of a long list.

use crate::form::{ChoiceOption, Question};

/// The options that match, best first: those that begin with the query, then those with a word that does, then those that
/// hold it. Case and accents do not matter.
pub(super) fn find<'q>(question: &'q Question, query: &str, max: usize) -> Vec<&'q ChoiceOption> {
    let query = fold(query.trim());
    let mut found: Vec<(u8, usize, &ChoiceOption)> = question
        .kind
        .options()
        .iter()
        .enumerate()
        .filter_map(|(index, option)| Some((rank(&fold(&option.label), &query)?, index, option)))
        .collect();
    found.sort_unstable_by_key(|(rank, index, _)| (*rank, *index));
    found.into_iter().take(max).map(|(_, _, option)| option).collect()
}

fn rank(label: &str, query: &str) -> Option<u8> {
    if label.starts_with(query) {
        return Some(0);
    }
    if label.split(|c: char| !c.is_alphanumeric()).any(|word| !word.is_empty() && word.starts_with(query)) {
        return Some(1);
    }
    label.contains(query).then_some(2)
}

/// Lower case without the accents of the Latin languages.
fn fold(text: &str) -> String {
    text.chars()
        .flat_map(char::to_lowercase)
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
        .map(plain)
        .collect()
}

fn plain(letter: char) -> char {
    match letter {
        'à'..='å' | 'ā' | 'ă' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ì'..='ï' | 'ī' | 'į' | 'ı' => 'i',
        'ł' => 'l',
        'ñ' | 'ń' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => 'o',
        'ř' => 'r',
        'ś' | 'š' | 'ş' => 's',
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_the_query_comes_first_and_accents_do_not_matter() {
        let labels = ["Le Mans", "Mantova", "Saint-Étienne", "Romania", "Étampes"];
        let options: Vec<_> = labels.iter().map(|l| serde_json::json!({"id": l, "label": l})).collect();
        let question: Question = serde_json::from_value(
            serde_json::json!({"key": "c", "type": "single_choice", "options": options}),
        )
        .expect("a question");
        let found = |query: &str| find(&question, query, 9).iter().map(|o| o.id.as_str()).collect::<Vec<_>>();
        assert_eq!(found("man"), ["Mantova", "Le Mans", "Romania"]);
        assert_eq!(found("eT"), ["Étampes", "Saint-Étienne"]);
        assert_eq!(found("xyz"), [""; 0]);
    }
}
