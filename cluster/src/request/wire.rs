//! Wire forms of questions and answers on lane Forward, and the only conversions to and from what the rest works with.
//! It must not encode, nor decide anything; the forms of a version never change once it is released.
//!
//! A form lists every field with its type on the wire, in order. A field that is added to or dropped from a type of this
//! module's neighbours does not compile until its form says what becomes of it.

use bincode::{Decode, Encode};
use ravelin_config::understands::{Understands, UnderstandsError, UnderstandsV1};

use super::{
    ApplyMode, Change, Consistency, Envelope, ObjectView, Objects, Page, Refusal, RefusalReason, Request,
    RequestId, Response, Scope, SourceDocument, SourceFormat, Verdict,
};

mod nodes;
mod status;

use nodes::{LeadershipV1, NodeChangeV1, NodeListV1};
use status::{ClusterStatusV1, EventRecordV1, GenerationV1};

/// The version byte of every frame on lane Forward. Any change of a form in this file or in `status`, a new variant of an enum
/// too, needs a higher one.
pub const REQUEST_VERSION: u8 = 1;

/// A type and its form on the wire.
pub(super) trait Wire<Form>: Sized {
    /// The form.
    fn to_wire(self) -> Form;

    /// From its form.
    ///
    /// # Errors
    /// What a node says of itself makes no sense; all else that decodes means something.
    fn of_wire(form: Form) -> Result<Self, UnderstandsError>;
}

macro_rules! same {
    ($($type:ty),*) => {$(
        impl Wire<$type> for $type {
            fn to_wire(self) -> Self {
                self
            }

            fn of_wire(form: Self) -> Result<Self, UnderstandsError> {
                Ok(form)
            }
        }
    )*};
}

same!(bool, u8, u16, u32, u64, String);

impl<T: Wire<F>, F> Wire<Option<F>> for Option<T> {
    fn to_wire(self) -> Option<F> {
        self.map(T::to_wire)
    }

    fn of_wire(form: Option<F>) -> Result<Self, UnderstandsError> {
        form.map(T::of_wire).transpose()
    }
}

impl<T: Wire<F>, F> Wire<Vec<F>> for Vec<T> {
    fn to_wire(self) -> Vec<F> {
        self.into_iter().map(T::to_wire).collect()
    }

    fn of_wire(form: Vec<F>) -> Result<Self, UnderstandsError> {
        form.into_iter().map(T::of_wire).collect()
    }
}

impl Wire<[u8; 16]> for RequestId {
    fn to_wire(self) -> [u8; 16] {
        self.0
    }

    fn of_wire(form: [u8; 16]) -> Result<Self, UnderstandsError> {
        Ok(Self(form))
    }
}

impl Wire<UnderstandsV1> for Understands {
    fn to_wire(self) -> UnderstandsV1 {
        UnderstandsV1::from(&self)
    }

    fn of_wire(form: UnderstandsV1) -> Result<Self, UnderstandsError> {
        Self::try_from(form)
    }
}

/// `struct Form of Type { field: type on the wire }`, or `enum` with its variants; what a tuple variant holds gets a name. The
/// form's own variants are tuples: names are not on the wire.
macro_rules! form {
    (struct $form:ident of $type:ident { $($field:ident: $as:ty),* $(,)? }) => {
        #[derive(Debug, Encode, Decode)]
        pub(in crate::request) struct $form {
            $($field: $as),*
        }

        impl Wire<$form> for $type {
            fn to_wire(self) -> $form {
                let Self { $($field),* } = self;
                $form { $($field: $field.to_wire()),* }
            }

            fn of_wire(form: $form) -> Result<Self, UnderstandsError> {
                let $form { $($field),* } = form;
                Ok(Self { $($field: Wire::of_wire($field)?),* })
            }
        }
    };
    (enum $form:ident of $type:ident {
        $($variant:ident $(($inner:ident: $of:ty))? $({ $($field:ident: $as:ty),* $(,)? })?),* $(,)?
    }) => {
        #[derive(Debug, Encode, Decode)]
        pub(in crate::request) enum $form {
            $($variant $(($of))? $(($($as),*))?),*
        }

        impl Wire<$form> for $type {
            fn to_wire(self) -> $form {
                match self {
                    $(Self::$variant $(($inner))? $({ $($field),* })? => {
                        $form::$variant $(($inner.to_wire()))? $(($($field.to_wire()),*))?
                    })*
                }
            }

            fn of_wire(form: $form) -> Result<Self, UnderstandsError> {
                Ok(match form {
                    $($form::$variant $(($inner))? $(($($field),*))? => {
                        Self::$variant $((Wire::of_wire($inner)?))? $({ $($field: Wire::of_wire($field)?),* })?
                    })*
                })
            }
        }
    };
}

use form;

form!(struct EnvelopeV1 of Envelope {
    id: [u8; 16],
    hops: u8,
    deadline_millis: u32,
    author: String,
    request: RequestV1,
    since: Option<u64>,
});

form!(enum RequestV1 of Request {
    Apply { documents: Vec<SourceDocumentV1>, mode: ApplyModeV1 },
    Delete { keys: Vec<String> },
    Get { prefix: String, after: Option<String>, limit: u32, consistency: ConsistencyV1 },
    Status { scope: ScopeV1, proxies: PageV1 },
    Events { since: u64, limit: u32 },
    Propose { command: Vec<u8> },
    Nodes,
    ChangeNode(change: NodeChangeV1),
    TransferLeader { to: Option<u64> },
});

form!(struct SourceDocumentV1 of SourceDocument { name: String, format: SourceFormatV1, text: String });
form!(enum SourceFormatV1 of SourceFormat { Yaml, Toml });
form!(enum ApplyModeV1 of ApplyMode { Merge, Replace });
form!(enum ConsistencyV1 of Consistency { Linearizable, Stale });
form!(enum ScopeV1 of Scope { Node, Cluster });
form!(struct PageV1 of Page { after: u64, limit: u32 });

form!(enum ResponseV1 of Response {
    Done(change: ChangeV1),
    Refused(refusal: RefusalV1),
    Unavailable { reason: String },
    Unknown { reason: String },
    Redirect { node: Option<u64>, may_take_effect: bool },
    Objects(objects: ObjectsV1),
    Status(status: ClusterStatusV1),
    Events(events: Vec<EventRecordV1>),
    Proposed,
    Nodes(nodes: NodeListV1),
    Leads(leads: LeadershipV1),
});

form!(struct ChangeV1 of Change {
    id: [u8; 16],
    generation: GenerationV1,
    put: u64,
    deleted: u64,
    verdicts: Vec<VerdictV1>,
});

form!(struct VerdictV1 of Verdict { key: String, state: String, errors: Vec<String> });
form!(struct RefusalV1 of Refusal { reason: RefusalReasonV1, problems: Vec<String> });

form!(enum RefusalReasonV1 of RefusalReason {
    Unreadable,
    BadRequest,
    TooLarge,
    StaleEpoch,
    Conflict,
    InError,
});

form!(struct ObjectsV1 of Objects {
    generation: Option<GenerationV1>,
    stale: bool,
    objects: Vec<ObjectViewV1>,
    next: Option<String>,
});

form!(struct ObjectViewV1 of ObjectView {
    key: String,
    state: String,
    errors: Vec<String>,
    object: String,
    last_good: Option<String>,
});

#[cfg(test)]
mod tests;
