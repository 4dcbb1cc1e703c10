//! HubSpot's file manager, as far as files go in: `POST /files/v3/files` and the search for what is there.
//!
//! Strict where the documentation is: a body that is no form of parts, a part that is not known, an upload without options,
//! an access that does not exist, or a file without a place is refused. Files stay in memory, the last of them only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::failed;
use crate::server::{Request, Response, StatusCode, header};

/// Files that are kept; older ones are forgotten.
const KEPT: usize = 100;
/// The largest upload that is taken.
pub(in crate::sandbox) const MAX_UPLOAD_BYTES: usize = 26 * 1024 * 1024;
const ACCESS: [&str; 5] =
    ["PUBLIC_INDEXABLE", "PUBLIC_NOT_INDEXABLE", "HIDDEN_INDEXABLE", "HIDDEN_NOT_INDEXABLE", "PRIVATE"];

/// A file as HubSpot tells it, and the hash of its content.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Without its ending.
    pub name: String,
    /// The ending.
    pub extension: String,
    /// The folder.
    pub folder: String,
    /// Who may see it.
    pub access: String,
    /// How long it is.
    pub size_bytes: usize,
    /// Of its content, in hexadecimal digits.
    pub sha256: String,
    /// Where it is.
    pub url: String,
    /// How often it was uploaded, though it is kept once.
    pub uploads: u32,
}

/// The files of an account. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub(super) struct FileManager(Arc<Mutex<Vec<File>>>);

/// A part of a form.
struct Part<'b> {
    name: String,
    file_name: Option<String>,
    body: &'b [u8],
}

impl FileManager {
    pub(super) fn all(&self) -> Vec<File> {
        self.state().clone()
    }

    pub(super) fn search(&self, query: &str) -> Response {
        let mut wanted = String::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "name" => wanted = value.into_owned(),
                "limit" if value.parse::<u32>().is_ok_and(|limit| (1..=100).contains(&limit)) => {}
                _ => {
                    return failed(
                        400,
                        "Unknown or invalid parameter",
                        json!({"category": "VALIDATION_ERROR"}),
                    );
                }
            }
        }
        let files = self.all();
        let found = (1_u64..).zip(&files).filter(|(_, file)| file.name.contains(&wanted));
        let results: Vec<Value> = found.map(|(id, file)| told(id, file)).collect();
        Response::json(StatusCode::OK, &json!({"results": results}))
    }

    pub(super) fn take(&self, portal: &str, request: &Request) -> Response {
        match self.upload(portal, request) {
            Ok(file) => Response::json(StatusCode::CREATED, &file),
            Err(message) => failed(400, &message, json!({"category": "VALIDATION_ERROR"})),
        }
    }

    fn upload(&self, portal: &str, request: &Request) -> Result<Value, String> {
        let kind = request.header(header::CONTENT_TYPE).unwrap_or_default();
        let boundary =
            kind.strip_prefix("multipart/form-data; boundary=").filter(|boundary| !boundary.is_empty());
        let parts = parts(&request.body, boundary.ok_or("the body is no multipart/form-data")?)?;
        let known = ["file", "fileName", "folderId", "folderPath", "charsetHunch", "options"];
        for (at, part) in parts.iter().enumerate() {
            if !known.contains(&part.name.as_str()) || parts[..at].iter().any(|other| other.name == part.name)
            {
                return Err(format!("the part {} is not known, or there twice", part.name));
            }
        }
        let text = |name: &str| {
            let part = parts.iter().find(|part| part.name == name)?;
            std::str::from_utf8(part.body).ok().map(str::to_owned)
        };
        let options: Value = text("options")
            .and_then(|options| serde_json::from_str(&options).ok())
            .filter(Value::is_object)
            .ok_or("options are missing or no JSON object")?;
        let access = options["access"].as_str().filter(|access| ACCESS.contains(access));
        let access = access.ok_or("options.access is missing or not known")?.to_owned();
        let option_names =
            ["access", "ttl", "overwrite", "duplicateValidationStrategy", "duplicateValidationScope"];
        let unknown = options
            .as_object()
            .into_iter()
            .flatten()
            .find(|(name, _)| !option_names.contains(&name.as_str()));
        if let Some((name, _)) = unknown {
            return Err(format!("the option {name} is not known"));
        }
        let folder = text("folderPath").filter(|path| path.starts_with('/') && !path.contains(".."));
        let folder = folder.ok_or("folderId or folderPath is needed")?;
        let file = parts.iter().find(|part| part.name == "file").ok_or("there is no file")?;
        let whole = text("fileName").or_else(|| file.file_name.clone()).filter(|name| !name.is_empty());
        let whole = whole.ok_or("the file has no name")?;
        let (name, extension) = whole.rsplit_once('.').ok_or("the file's name has no ending")?;
        let sha256: String = Sha256::digest(file.body).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut files = self.state();
        let is_same = |known: &File| known.folder == folder && known.sha256 == sha256;
        let again = files.iter().position(is_same).filter(|_| {
            options["duplicateValidationStrategy"] == "RETURN_EXISTING"
                && options["duplicateValidationScope"] == "EXACT_FOLDER"
        });
        if let Some(at) = again {
            files[at].uploads += 1;
            return Ok(told(at as u64 + 1, &files[at]));
        }
        if files.len() == KEPT {
            files.remove(0);
        }
        files.push(File {
            url: format!("https://{portal}.fs1.hubspotusercontent-na1.net/hubfs/{portal}{folder}/{whole}"),
            name: name.to_owned(),
            extension: extension.to_owned(),
            folder,
            access,
            size_bytes: file.body.len(),
            sha256,
            uploads: 1,
        });
        Ok(told(files.len() as u64, &files[files.len() - 1]))
    }

    fn state(&self) -> MutexGuard<'_, Vec<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file as the API tells it.
fn told(id: u64, file: &File) -> Value {
    let stamp = "2026-11-22T10:05:00.000Z";
    json!({
        "id": format!("8000{id}"), "name": file.name, "extension": file.extension, "type": "IMG", "size": file.size_bytes,
        "path": format!("{}/{}.{}", file.folder, file.name, file.extension), "access": file.access, "url": file.url,
        "defaultHostingUrl": file.url, "isUsableInContent": true, "archived": false, "createdAt": stamp, "updatedAt": stamp,
    })
}

/// The parts of a form (RFC 7578), with their delimiters exactly where they have to be.
fn parts<'b>(body: &'b [u8], boundary: &str) -> Result<Vec<Part<'b>>, String> {
    let (first, between) = (format!("--{boundary}"), format!("\r\n--{boundary}"));
    let mut rest = body.strip_prefix(first.as_bytes()).ok_or("the body does not begin with its boundary")?;
    let mut parts = Vec::new();
    loop {
        if rest == b"--\r\n" || rest == b"--" {
            return Ok(parts);
        }
        let part = rest.strip_prefix(b"\r\n").ok_or("a boundary has no end of line")?;
        let end = position(part, between.as_bytes()).ok_or("the body ends within a part")?;
        let (part, after) = part.split_at(end);
        let head_end = position(part, b"\r\n\r\n").ok_or("a part has no head")?;
        let head = std::str::from_utf8(&part[..head_end]).map_err(|_| "a part's head is no text")?;
        let disposition = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("Content-Disposition: form-data; "))
            .ok_or("a part has no Content-Disposition")?;
        let parameter = |name: &str| {
            let given =
                disposition.split("; ").find_map(|given| given.strip_prefix(name)?.strip_prefix("=\""));
            given.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
        };
        let name = parameter("name").ok_or("a part has no name")?;
        parts.push(Part { name, file_name: parameter("filename"), body: &part[head_end + 4..] });
        rest = &after[between.len()..];
    }
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // The first byte is looked for apart, so that a long file is searched at the speed of memory.
    let (first, mut from) = (*wanted.first()?, 0);
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
