//! The program at tc egress: by a link (tcx), and before Linux 6.6 by a filter of the queueing discipline `clsact`.
//!
//! A link ends with its process, a filter does not. That there is one, on which interface, and whether the queueing
//! discipline is ours, is noted beside the pinned maps, for whoever takes the gate off then.

use aya::programs::{
    LinkOrder, ProgramError, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLinkId, TcAttachOptions},
};

use super::{EGRESS, Gate};
use crate::{Error, clsact, error::causes, pins::Filter, sys};

/// How it is attached.
#[derive(Debug)]
pub(super) struct Attachment {
    link: SchedClassifierLinkId,
    filter: Option<Filter>,
}

// === impl Gate ===

impl Gate {
    /// Lets the program see what the interface sends.
    ///
    /// # Errors
    /// If the kernel refuses, or there is no such interface.
    pub fn attach_egress(&mut self, interface: &str) -> Result<(), Error> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let program = self.classifier(EGRESS)?;
        match program.attach_with_options(interface, TcAttachType::Egress, options) {
            Ok(link) => {
                self.egress = Some(Attachment { link, filter: None });
                Ok(())
            }
            // The kernel does not know this kind of attachment, or not what we say of it.
            Err(ProgramError::SyscallError(call))
                if matches!(call.io_error.raw_os_error(), Some(libc::EINVAL | libc::E2BIG)) =>
            {
                self.attach_egress_by_clsact(interface)
            }
            Err(error) => Err(Error::Egress(causes(&error))),
        }
    }

    /// The same as before Linux 6.6.
    ///
    /// # Errors
    /// As [`attach_egress`](Self::attach_egress).
    pub fn attach_egress_by_clsact(&mut self, interface: &str) -> Result<(), Error> {
        let refused = |error: &dyn std::error::Error| Error::Egress(causes(error));
        let index = sys::index(interface).map_err(|error| refused(&error))?;
        // Where there is one already, it is somebody else's, or a killed process left it.
        let is_ours = tc::qdisc_add_clsact(interface).is_ok() || self.left_a_filter_on(index);
        tc::qdisc_detach_program(interface, TcAttachType::Egress, EGRESS).unwrap_or_default();
        let filter = Filter { interface: index, is_ours };
        if let Some(pins) = &self.pins {
            pins.note(Some(filter))?;
        }
        let program = self.classifier(EGRESS)?;
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let attached = program.attach_with_options(interface, TcAttachType::Egress, options);
        let link = attached.map_err(|error| refused(&error))?;
        self.egress = Some(Attachment { link, filter: Some(filter) });
        Ok(())
    }

    /// Whether an earlier run noted a filter there, with a queueing discipline of its own.
    fn left_a_filter_on(&self, index: u32) -> bool {
        let noted = self.pins.as_ref().and_then(crate::pins::Pins::noted);
        noted.is_some_and(|filter| filter.interface == index && filter.is_ours)
    }

    /// Takes the programs off the interface, as far as they are still there.
    pub fn let_go(&mut self) {
        if let Some((name, link)) = self.link.take()
            && let Ok(program) = self.program(name)
        {
            // Somebody else may have done it.
            program.detach(link).unwrap_or_default();
        }
        self.detach_egress();
    }

    /// What the interface sends is seen no more.
    pub(super) fn detach_egress(&mut self) {
        let Some(Attachment { link, filter }) = self.egress.take() else { return };
        if let Ok(program) = self.classifier(EGRESS) {
            program.detach(link).unwrap_or_default();
        }
        let Some(filter) = filter else { return };
        filter.sweep();
        if let Some(pins) = &self.pins {
            pins.note(None).unwrap_or_default();
        }
    }
}

// === impl Filter ===

impl Filter {
    /// Removes it, and the queueing discipline if that is ours and nobody else's filter is there.
    pub(crate) fn sweep(self) {
        let Some(name) = sys::name(self.interface) else { return };
        tc::qdisc_detach_program(&name, TcAttachType::Egress, EGRESS).unwrap_or_default();
        if self.is_ours {
            clsact::remove_if_empty(self.interface).unwrap_or_default();
        }
    }
}
