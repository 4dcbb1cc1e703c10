//! Media objects of an exchange (WhatsApp Flows reference, 5.1). Names, addresses and keys are bounded and have the right
//! form; the file itself is fetched and verified later.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Problem, clean};
use crate::form::{FileLimits, FileRef, Value, media_type_of};

/// Longest id, address and name that are kept, in bytes.
const MAX_ID: usize = 200;
const MAX_ADDRESS: usize = 1_024;
const MAX_NAME: usize = 240;

pub(super) fn files(limits: &FileLimits, raw: Option<&Json>) -> Result<Option<Value>, Problem> {
    let items = match raw {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) if text.is_empty() => return Ok(None),
        Some(Json::Array(items)) => items,
        Some(_) => return Err(Problem::File),
    };
    if items.len() > usize::from(limits.max_files) {
        return Err(Problem::TooManyFiles { max: limits.max_files });
    }
    let files: Option<Vec<FileRef>> = items.iter().map(file).collect();
    let files = files.ok_or(Problem::File)?;
    // Some phones do not filter what is picked. What a name promises can be told at once, while the person can mend it.
    let refused =
        |file: &FileRef| media_type_of(&file.file_name).is_some_and(|promised| !limits.allows(promised));
    if files.iter().any(refused) {
        return Err(Problem::File);
    }
    Ok((!files.is_empty()).then_some(Value::Files(files)))
}

fn file(item: &Json) -> Option<FileRef> {
    let text = |value: &Json, max: usize| {
        value.as_str().filter(|text| !text.is_empty() && text.len() <= max).map(str::to_owned)
    };
    let encryption = item.get("encryption_metadata")?;
    let coded = |name: &str, bytes: usize| {
        let text = text(encryption.get(name)?, 64)?;
        STANDARD.decode(&text).is_ok_and(|decoded| decoded.len() == bytes).then_some(text)
    };
    let media_id = match item.get("media_id")? {
        Json::Number(number) => number.to_string(),
        value => text(value, MAX_ID)?,
    };
    Some(FileRef {
        media_id,
        cdn_url: text(item.get("cdn_url")?, MAX_ADDRESS)?,
        file_name: name(item.get("file_name").and_then(Json::as_str).unwrap_or_default()),
        encrypted_hash: coded("encrypted_hash", 32)?,
        iv: coded("iv", 16)?,
        encryption_key: coded("encryption_key", 32)?,
        hmac_key: coded("hmac_key", 32)?,
        plaintext_hash: coded("plaintext_hash", 32)?,
    })
}

/// The last part of the name, short enough to be kept, its ending included.
fn name(sent: &str) -> String {
    let name = clean(sent.rsplit(['/', '\\']).next().unwrap_or_default());
    if name.is_empty() {
        return "file".to_owned();
    }
    let mut from = name.len().saturating_sub(MAX_NAME);
    while !name.is_char_boundary(from) {
        from += 1;
    }
    name.get(from..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str) -> Json {
        let long = STANDARD.encode([1; 32]);
        json!({"media_id": "790aba14", "cdn_url": "https://mmg.whatsapp.net/v/1", "file_name": name,
            "encryption_metadata": {"encrypted_hash": long, "iv": STANDARD.encode([2; 16]), "encryption_key": long,
                "hmac_key": long, "plaintext_hash": long}})
    }

    fn limits(media_types: &[&str]) -> FileLimits {
        let media_types = media_types.iter().map(|t| (*t).to_owned()).collect();
        FileLimits { photos_only: false, media_types, max_files: 2, max_kib: 25_600 }
    }

    fn accept(limits: &FileLimits, items: Json) -> Result<Option<Vec<String>>, Problem> {
        let names = |value| match value {
            Value::Files(files) => files.into_iter().map(|file| file.file_name).collect(),
            other => panic!("{other:?}"),
        };
        files(limits, Some(&items)).map(|value| value.map(names))
    }

    #[test]
    fn a_name_is_its_last_part_and_has_an_end() {
        let any = limits(&[]);
        let long = format!("{}ü.pdf", "é".repeat(300));
        for (sent, kept) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\a\\b.pdf", "b.pdf"),
            ("", "file"),
            ("/", "file"),
            (" a\u{0}b.pdf ", "ab.pdf"),
        ] {
            assert_eq!(accept(&any, json!([object(sent)])), Ok(Some(vec![kept.to_owned()])), "{sent}");
        }
        let kept = accept(&any, json!([object(&long)])).expect("a name").expect("a file").concat();
        assert!(kept.len() <= MAX_NAME && kept.ends_with("éü.pdf"), "{kept}");
    }

    #[test]
    fn more_files_than_allowed_and_names_of_another_kind_are_told_at_once() {
        let pdf = limits(&["application/pdf"]);
        assert!(accept(&pdf, json!([object("a.pdf"), object("scan")])).is_ok());
        assert_eq!(accept(&pdf, json!([object("a.png")])), Err(Problem::File));
        let three = json!([object("a.pdf"), object("b.pdf"), object("c.pdf")]);
        assert_eq!(accept(&pdf, three), Err(Problem::TooManyFiles { max: 2 }));
    }

    #[test]
    fn what_cannot_be_fetched_and_opened_is_no_file() {
        let any = limits(&[]);
        for path in [
            "/media_id",
            "/cdn_url",
            "/encryption_metadata",
            "/encryption_metadata/iv",
            "/encryption_metadata/hmac_key",
        ] {
            for bad in [Json::Null, json!(""), json!("AAAA"), json!("x".repeat(2_000))] {
                if path == "/media_id" && bad == json!("AAAA") || path == "/cdn_url" && bad == json!("AAAA") {
                    continue;
                }
                let mut item = object("a.pdf");
                *item.pointer_mut(path).expect("a member") = bad.clone();
                assert_eq!(accept(&any, json!([item])), Err(Problem::File), "{path} {bad}");
            }
        }
        let mut numbered = object("a.pdf");
        numbered["media_id"] = json!(12);
        assert!(accept(&any, json!([numbered])).is_ok());
    }
}
