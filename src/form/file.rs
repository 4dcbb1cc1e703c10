//! Which files a question takes.
//!
//! What a file is called says what it should be; what it is, only its content says, which is not here. So a name is held
//! against the limits when it is answered, and the content once it was fetched, by the same rule.

use super::FileLimits;

/// What a document picker may be told to allow (WhatsApp Flows reference, 4.8), sorted.
pub const MEDIA_TYPES: [&str; 24] = [
    "application/gzip",
    "application/msword",
    "application/pdf",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
    "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/x-7z-compressed",
    "application/zip",
    "image/avif",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "text/plain",
    "video/mp4",
    "video/mpeg",
];

/// The media type that a file's name promises; `None` where it promises nothing.
pub fn media_type_of(file_name: &str) -> Option<&'static str> {
    let (_, extension) = file_name.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "gz" | "tgz" => "application/gzip",
        "doc" => "application/msword",
        "pdf" => "application/pdf",
        "xls" => "application/vnd.ms-excel",
        "ppt" => "application/vnd.ms-powerpoint",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odt" => "application/vnd.oasis.opendocument.text",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "7z" => "application/x-7z-compressed",
        "zip" => "application/zip",
        "avif" => "image/avif",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "tif" | "tiff" => "image/tiff",
        "webp" => "image/webp",
        "txt" => "text/plain",
        "mp4" => "video/mp4",
        "mpg" | "mpeg" => "video/mpeg",
        _ => return None,
    })
}

impl FileLimits {
    /// Whether a file of this media type is one that the question takes.
    pub fn allows(&self, media_type: &str) -> bool {
        if self.photos_only && !media_type.starts_with("image/") {
            return false;
        }
        let mut listed = self.media_types.iter().filter(|t| !self.photos_only || t.starts_with("image/"));
        match listed.next() {
            // What a picker gives when it is told nothing.
            None => MEDIA_TYPES.binary_search(&media_type).is_ok(),
            Some(first) => std::iter::once(first).chain(listed).any(|listed| matches(listed, media_type)),
        }
    }
}

/// Whether an entry such as `image/png` or `image/*` means this type. HEIC is a kind of HEIF, and phones name either.
fn matches(listed: &str, media_type: &str) -> bool {
    let one =
        |name: &str| if name == "image/heic" { "image/heif".to_owned() } else { name.to_ascii_lowercase() };
    let (listed, media_type) = (one(listed.trim()), one(media_type));
    match listed.strip_suffix("/*") {
        Some(family) => media_type.split('/').next() == Some(family),
        None => listed == media_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(photos_only: bool, media_types: &[&str]) -> FileLimits {
        let media_types = media_types.iter().map(|t| (*t).to_owned()).collect();
        FileLimits { photos_only, media_types, max_files: 1, max_kib: 25_600 }
    }

    #[test]
    fn a_type_is_allowed_by_its_name_its_family_or_because_nothing_is_listed() {
        for (photos_only, listed, media_type, allowed) in [
            (false, &[][..], "application/pdf", true),
            (false, &[], "text/html", false),
            (false, &["application/pdf"], "application/pdf", true),
            (false, &["Application/PDF "], "application/pdf", true),
            (false, &["application/pdf"], "image/png", false),
            (false, &["image/*"], "image/png", true),
            (false, &["image/*"], "imageer/png", false),
            (false, &["image/heic"], "image/heif", true),
            (false, &["audio/mpeg"], "audio/mpeg", true),
            (true, &[], "image/jpeg", true),
            (true, &[], "application/pdf", false),
            (true, &["application/pdf"], "image/jpeg", true),
            (true, &["image/png", "application/pdf"], "image/jpeg", false),
        ] {
            let limits = limits(photos_only, listed);
            assert_eq!(limits.allows(media_type), allowed, "{photos_only} {listed:?} {media_type}");
        }
    }

    #[test]
    fn every_type_of_a_picker_has_a_name_that_promises_it() {
        assert!(MEDIA_TYPES.is_sorted());
        let promised: Vec<_> =
            "gz doc pdf xls ppt odp ods odt pptx xlsx docx 7z zip avif gif heic heif JPG png tiff webp \
                                txt mp4 mpeg"
                .split_whitespace()
                .filter_map(|extension| media_type_of(&format!("a.b.{extension}")))
                .collect();
        assert_eq!(promised, MEDIA_TYPES);
        assert_eq!(media_type_of("pdf"), None);
        assert_eq!(media_type_of("a.exe"), None);
    }
}
