//! What an encoder writes of a kind of record: the fields of its schema that the filter leaves, as a
//! tree of objects (`source.ip` and `source.port` are members of `source`).
//!
//! JSON is written by a program made of that tree, with everything that all records share written
//! out beforehand; the other codecs walk the tree.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::EncodingConfig;
use crate::{
    field::{Fields, Given, Origin, Schema, Value},
    record::{Added, Kind, Timestamp},
};

/// What an encoder writes of records of type `T`.
#[derive(Debug)]
pub(super) struct Layout<T: 'static> {
    /// The field that is the record's own time in the schema.
    time: Option<Given<T>>,
    members: Vec<Member<T>>,
    program: Vec<Step<T>>,
}

/// A member of an object.
#[derive(Debug)]
enum Member<T: 'static> {
    Field(&'static str, Given<T>),
    Object(&'static str, Vec<Self>),
    /// A text that the config adds.
    Label(Box<str>, Box<str>),
    /// The list `tags`: the record's own, and those that the config adds.
    Tags(Option<Given<T>>, Box<[Box<str>]>),
}

/// A step of writing JSON. Each member is written with a comma after it.
#[derive(Debug)]
enum Step<T: 'static> {
    /// Members that all records share.
    Shared(Vec<u8>),
    /// A member, unless its value is absent: `"key":` and its value.
    Field(Box<[u8]>, for<'a> fn(&'a T, &'a Origin) -> Value<'a>),
    /// A list that may be absent, with these members behind its own: `"x","y"]`.
    List(Box<[u8]>, for<'a> fn(&'a T, &'a Origin) -> Value<'a>, Box<[u8]>),
    /// An object begins: `"key":{`.
    Open(Box<[u8]>),
    /// An object ends; one without members is taken back.
    Close,
}

/// A record as its layout shows it, for any codec.
pub(super) struct Document<'a, T: 'static> {
    pub(super) layout: &'a Layout<T>,
    pub(super) record: &'a T,
    pub(super) origin: &'a Origin,
}

/// An object of a document.
struct Object<'a, T: 'static> {
    members: &'a [Member<T>],
    document: &'a Document<'a, T>,
}

// === impl Layout ===

impl<T: Fields> Layout<T> {
    /// What `config` leaves of the fields of a schema, in their order.
    pub(super) fn new(schema: Schema, config: &EncodingConfig, origin: &Origin) -> Self {
        let own_time = match schema {
            Schema::Simple | Schema::Cim => "timestamp",
            Schema::Ecs => "@timestamp",
        };
        let mut time = None;
        let mut members = Vec::new();
        for field in T::fields() {
            for name in field.names(schema) {
                if *name == own_time {
                    time = Some(field.given);
                }
                let name = config.renamed(name);
                if config.keeps(name) {
                    let (key, path) = split(name, schema);
                    insert(&mut members, path, Member::Field(key, field.given));
                }
            }
        }
        add(&mut members, schema, &origin.added);
        let mut program = Vec::new();
        append_steps(&members, T::KIND, origin, &mut program);
        Self { time, members, program }
    }

    /// The time that is the record's own in the schema, written or not.
    pub(super) fn time(&self, record: &T, origin: &Origin) -> Option<Timestamp> {
        match self.time?.value(record, origin, T::KIND) {
            Value::Time(time) => Some(time),
            _ => None,
        }
    }

    /// Appends a record as one line of JSON.
    pub(super) fn write_json(&self, record: &T, origin: &Origin, out: &mut Vec<u8>) {
        let mut opened = [0; MAX_DEPTH];
        let mut depth = 0;
        out.push(b'{');
        for step in &self.program {
            match step {
                Step::Shared(members) => out.extend_from_slice(members),
                Step::Field(key, value) => {
                    let value = value(record, origin);
                    if !value.is_absent() {
                        out.extend_from_slice(key);
                        value.append_json(out);
                        out.push(b',');
                    }
                }
                Step::List(key, value, more) => {
                    let value = value(record, origin);
                    out.extend_from_slice(key);
                    if value.is_absent() {
                        out.push(b'[');
                    } else {
                        value.append_json(out);
                        // The end of its own members.
                        out.pop();
                        out.push(b',');
                    }
                    out.extend_from_slice(more);
                    out.push(b',');
                }
                Step::Open(key) => {
                    if let Some(start) = opened.get_mut(depth) {
                        *start = out.len();
                    }
                    depth += 1;
                    out.extend_from_slice(key);
                }
                Step::Close => {
                    depth -= 1;
                    if out.last() == Some(&b'{') {
                        out.truncate(opened.get(depth).copied().unwrap_or_default());
                    } else {
                        close(out);
                        out.push(b',');
                    }
                }
            }
        }
        close(out);
        out.push(b'\n');
    }
}

/// The name of the list of tags.
const TAGS: &str = "tags";

/// Objects within objects: more than any name of ours has dots.
const MAX_DEPTH: usize = 8;

/// Ends an object: the comma after its last member becomes its brace.
fn close(out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = b'}',
        _ => out.push(b'}'),
    }
}

/// A name's last part, and the objects it lies in.
fn split(name: &'static str, schema: Schema) -> (&'static str, &'static str) {
    match name.rsplit_once('.') {
        Some((path, key)) if schema == Schema::Ecs => (key, path),
        _ => (name, ""),
    }
}

/// Puts a member into the object at `path`, which is made if it is not there.
fn insert<T>(members: &mut Vec<Member<T>>, path: &'static str, member: Member<T>) {
    if path.is_empty() {
        members.push(member);
        return;
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let found = members.iter().position(|m| matches!(m, Member::Object(key, _) if *key == first));
    let at = found.unwrap_or_else(|| {
        members.push(Member::Object(first, Vec::new()));
        members.len() - 1
    });
    if let Some(Member::Object(_, inner)) = members.get_mut(at) {
        insert(inner, rest, member);
    }
}

/// Puts what the config adds behind the record's own members, and its tags into their list.
fn add<T>(members: &mut Vec<Member<T>>, schema: Schema, added: &Added) {
    if !added.tags.is_empty() {
        let tags = added.tags.iter().map(|tag| tag.as_str().into()).collect();
        let own = members.iter_mut().find(|m| matches!(m, Member::Field(key, _) if *key == TAGS));
        match own {
            Some(member) => {
                let given = if let Member::Field(_, given) = member { Some(*given) } else { None };
                *member = Member::Tags(given, tags);
            }
            None => members.push(Member::Tags(None, tags)),
        }
    }
    let labels = added.labels.iter();
    let labels =
        labels.map(|(name, value)| Member::Label(name.as_str().into(), value.as_str().into()));
    if schema != Schema::Ecs {
        members.extend(labels);
    } else if !added.labels.is_empty() {
        members.push(Member::Object("labels", labels.collect()));
    }
}

/// A text as JSON has it.
fn json_text(text: &str, out: &mut Vec<u8>) {
    Value::Text(text).append_json(out);
}

fn append_steps<T>(members: &[Member<T>], kind: Kind, origin: &Origin, steps: &mut Vec<Step<T>>) {
    for member in members {
        match member {
            Member::Field(key, Given::Record(value)) => {
                steps.push(Step::Field(format!("\"{key}\":").into_bytes().into(), *value));
            }
            Member::Field(key, Given::Run(value)) => {
                let value = value(origin, kind);
                if !value.is_absent() {
                    let mut text = format!("\"{key}\":").into_bytes();
                    value.append_json(&mut text);
                    text.push(b',');
                    append_shared(&text, steps);
                }
            }
            Member::Label(name, value) => {
                let mut text = Vec::new();
                json_text(name, &mut text);
                text.push(b':');
                json_text(value, &mut text);
                text.push(b',');
                append_shared(&text, steps);
            }
            Member::Tags(own, added) => append_tags(own.as_ref(), added, kind, origin, steps),
            Member::Object(key, inner) => {
                let mut within = Vec::new();
                append_steps(inner, kind, origin, &mut within);
                let opening = format!("\"{key}\":{{").into_bytes();
                match within.as_mut_slice() {
                    [] => {}
                    [Step::Shared(text)] => {
                        let mut object = opening;
                        object.append(text);
                        close(&mut object);
                        object.push(b',');
                        append_shared(&object, steps);
                    }
                    _ => {
                        steps.push(Step::Open(opening.into()));
                        steps.append(&mut within);
                        steps.push(Step::Close);
                    }
                }
            }
        }
    }
}

/// The list of tags; all records share it where none has tags of its own.
fn append_tags<T>(
    own: Option<&Given<T>>,
    added: &[Box<str>],
    kind: Kind,
    origin: &Origin,
    steps: &mut Vec<Step<T>>,
) {
    let mut more = Vec::new();
    for tag in added {
        json_text(tag, &mut more);
        more.push(b',');
    }
    more.pop();
    more.push(b']');
    let key = format!("\"{TAGS}\":").into_bytes();
    match own {
        Some(Given::Record(value)) => steps.push(Step::List(key.into(), *value, more.into())),
        Some(Given::Run(value)) => {
            let (value, mut text) = (value(origin, kind), key);
            if value.is_absent() {
                text.push(b'[');
            } else {
                value.append_json(&mut text);
                text.pop();
                text.push(b',');
            }
            append_shared(&[text, more, vec![b',']].concat(), steps);
        }
        None => append_shared(&[key, vec![b'['], more, vec![b',']].concat(), steps),
    }
}

/// Appends to the shared members before it, if there are any.
fn append_shared<T>(text: &[u8], steps: &mut Vec<Step<T>>) {
    if let Some(Step::Shared(before)) = steps.last_mut() {
        before.extend_from_slice(text);
    } else {
        steps.push(Step::Shared(text.to_vec()));
    }
}

/// The members of a list of texts.
fn texts(value: &Value<'_>) -> Vec<String> {
    if value.is_absent() {
        return Vec::new();
    }
    let mut json = Vec::new();
    value.append_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

// === impl Document ===

impl<T: Fields> Document<'_, T> {
    fn value<'a>(&'a self, given: &Given<T>) -> Value<'a> {
        given.value(self.record, self.origin, T::KIND)
    }

    fn has(&self, member: &Member<T>) -> bool {
        match member {
            Member::Field(_, given) => !self.value(given).is_absent(),
            Member::Object(_, members) => members.iter().any(|member| self.has(member)),
            Member::Label(..) | Member::Tags(..) => true,
        }
    }
}

impl<T: Fields> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Object { members: &self.layout.members, document: self }.serialize(serializer)
    }
}

// === impl Object ===

impl<T: Fields> Serialize for Object<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { members, document } = self;
        let there = || members.iter().filter(|member| document.has(member));
        let mut map = serializer.serialize_map(Some(there().count()))?;
        for member in there() {
            match member {
                Member::Field(key, given) => map.serialize_entry(key, &document.value(given))?,
                Member::Object(key, members) => {
                    map.serialize_entry(key, &Object { members, document })?;
                }
                Member::Label(name, value) => map.serialize_entry(name, value)?,
                Member::Tags(own, added) => {
                    let mut tags =
                        own.as_ref().map_or_else(Vec::new, |own| texts(&document.value(own)));
                    tags.extend(added.iter().map(ToString::to_string));
                    map.serialize_entry(TAGS, &tags)?;
                }
            }
        }
        map.end()
    }
}
