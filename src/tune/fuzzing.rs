//! What `fuzz/` reaches of this module.

use super::log::Rows;

/// Reads `log` as the rows of a flow log, and what they tell.
pub fn flow_log(log: &[u8]) {
    let (mut rows, mut events) = (Rows::default(), Vec::new());
    for line in log.split(|byte| *byte == b'\n') {
        if let Ok(Some(row)) = rows.parse(line) {
            row.events(&mut events);
        }
        events.clear();
    }
}
