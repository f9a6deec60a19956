//! What is written of each kind: its fields in the order of the wire form. Each conversion names all fields
//! of a record, so that a new one can't be forgotten here.

mod contact;
mod details;
mod flow;
mod packet;
mod report;

use std::{borrow::Cow, sync::Arc};

pub(super) use self::{
    contact::ContactForm,
    flow::FlowForm,
    packet::PacketForm,
    report::{AlertForm, HealthForm, ReturnedForm},
};

fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn shared(text: Option<Cow<'_, str>>) -> Option<Arc<str>> {
    text.map(Into::into)
}
