//! The machine that the process runs on, as documents tell it.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose traffic a sensor sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// That of its own machine.
    Host,
    /// Others': it stands at a mirror port, or reads their captures.
    #[default]
    Span,
}

/// A machine. One that is not known has no name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Whose traffic it sees.
    pub view: View,
    /// Its name (`proc_sys_kernel(5)`).
    pub hostname: Box<str>,
    /// The addresses of its interfaces, those of loopback and of links alone left out.
    pub addresses: Vec<IpAddr>,
    /// The link-layer addresses of its interfaces, as ECS writes them (`00-16-47-9D-F2-C2`).
    pub macs: Vec<Box<str>>,
    /// Its id (`machine-id(5)`).
    pub id: Option<Box<str>>,
}
