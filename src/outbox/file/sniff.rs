//! What a file is, told from its first bytes. Pure.

use crate::form::media_type_of;

/// So much of a file is looked at.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

const OFFICE: [&str; 3] = ["application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"];
const ZIP: &str = "application/zip";
const ZIPPED: [&str; 2] =
    ["application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."];

/// The media type of a file with this beginning. The name decides only between kinds that begin alike.
pub(super) fn media_type(head: &[u8], file_name: &str) -> &'static str {
    let promised = media_type_of(file_name);
    let found = infer::get(head).map(|found| found.mime_type());
    match found {
        // Which of Office's older formats a container holds stands anywhere in it.
        Some("application/x-ole-storage") => {
            promised.filter(|promised| OFFICE.contains(promised)).unwrap_or("application/x-ole-storage")
        }
        // So does what is in an archive; a document of an office is one.
        Some(ZIP) => {
            let is_document = |promised: &&str| ZIPPED.iter().any(|family| promised.starts_with(family));
            promised.filter(is_document).unwrap_or(ZIP)
        }
        Some("text/xml" | "text/x-shellscript") | None if is_text(head) => "text/plain",
        Some(found) => found,
        None => "application/octet-stream",
    }
}

/// Text in UTF-8, the last character of which may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let valid = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_a_name_only_between_kinds_that_begin_alike() {
        let zip = b"PK\x03\x04\x14\0\0\0\0\0 and what follows in an archive of anything";
        let ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and what follows";
        for (head, name, expected) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], "a.pdf", "image/jpeg"),
            (b"%PDF-1.7\n", "a.jpg", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n", "a", "image/png"),
            (zip, "a.zip", "application/zip"),
            (zip, "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            (zip, "a.pdf", "application/zip"),
            (ole, "a.xls", "application/vnd.ms-excel"),
            (b"MZ\x90\0\x03\0\0\0", "a.pdf", "application/vnd.microsoft.portable-executable"),
            ("Sì, è testo\n".as_bytes(), "a.txt", "text/plain"),
            (&"è".as_bytes()[..1], "a.txt", "application/octet-stream"),
            (b"<!DOCTYPE html><script>", "a.txt", "text/html"),
            (b"a\0b", "a.txt", "application/octet-stream"),
            (b"", "a.txt", "application/octet-stream"),
        ] {
            let found = media_type(head, name);
            // A container that the crate does not know stays what it is; either is not what was promised.
            assert_eq!(found, expected, "{name}");
        }
        let cut = [b"text that is cut within a character: ".as_slice(), &"è".as_bytes()[..1]].concat();
        assert_eq!(media_type(&cut, "a"), "text/plain");
    }
}
