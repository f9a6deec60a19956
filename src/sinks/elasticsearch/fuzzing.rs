//! What `fuzz/` reaches of this module.

use super::bulk;
use crate::component::ItemEnd;

/// Reads `body` as the bulk answer to so many documents, and holds it to what the sink relies on.
pub fn bulk_answer(body: &[u8], items: usize) {
    let all_created = bulk::all_created(body, items);
    for own_ids in [false, true] {
        let Ok(ends) = bulk::read(body, items, own_ids, |text| text) else {
            assert!(!all_created, "only the short cut can read it");
            continue;
        };
        assert_eq!(ends.items.len(), items);
        assert!(ends.in_failure_store <= items);
        assert!(!all_created || ends.items.iter().all(|end| *end == ItemEnd::Delivered));
        for end in &ends.items {
            assert!(own_ids || *end != ItemEnd::Duplicate);
            if let ItemEnd::Retry(reason) | ItemEnd::Failed(reason) | ItemEnd::Refused(reason) = end
            {
                assert!(reason.chars().count() <= 1000 && !reason.contains(char::is_control));
            }
        }
    }
}
