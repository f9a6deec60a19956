//! What `fuzz/` reaches of this module.

use std::path::Component;

use super::template::Template;
use crate::record::Timestamp;

/// Reads `text` as a path; whatever the time, a record's file stays in the directory it names.
pub fn path_template(text: &str, times: [Timestamp; 2]) {
    let Ok(template) = Template::parse(text) else { return };
    let [first, second] = times.map(|time| template.bucket(time));
    let paths = [template.path(first), template.path(second)];
    assert!(first != second || paths[0] == paths[1], "one bucket, two paths: {paths:?}");
    let climbs = |part: Component<'_>| part == Component::ParentDir;
    let shape = |path: &std::path::Path| {
        (path.is_absolute(), path.components().map(climbs).collect::<Vec<_>>())
    };
    assert_eq!(shape(&paths[0]), shape(&paths[1]), "{text:?}");
    assert!(paths[0].file_name().is_some(), "{text:?} names no file");
}
