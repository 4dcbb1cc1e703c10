//! Which keys a scan means: from where, and up to where. Pure.

use crate::store::Scan;

/// The first key a scan may return, and the first it may not, if there is one.
pub(super) fn bounds(scan: Scan) -> (Vec<u8>, Option<Vec<u8>>) {
    let end = prefix_end(&scan.prefix);
    match scan.after {
        None => (scan.prefix, end),
        Some(after) if scan.descending => {
            let end = end.map_or(after.clone(), |end| end.min(after));
            (scan.prefix, Some(end))
        }
        Some(mut after) => {
            // The key right behind it.
            after.push(0);
            (after.max(scan.prefix), end)
        }
    }
}

/// The first key behind all that begin with `prefix`; `None` if there is none.
pub(in crate::store) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end: Vec<u8> = prefix.iter().copied().take(kept + 1).collect();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255]), None);
        assert_eq!(prefix_end(&[]), None);
    }
}
