//! Wire forms of the feed: what stands in a frame of lane Feed and in a chunk of a last-good file. One form per version, never
//! changed once released, and the only conversions to and from what the rest works with. It must not encode frames.

use std::sync::Arc;

use bincode::{Decode, Encode};
use zeroize::Zeroize;

use super::{
    ADDRESS_BYTES_MAX, CONTROL_NODES_MAX, Content, ControlNode, ControlPlane, Hello, Part, Stage, ToControl,
    ToProxy,
};
use crate::digest::Digest;
use crate::generation::GenerationId;
use crate::key::{Key, KeyError};
use crate::secret::{KEY_BYTES, SecretId, ViewKey};
use crate::understands::{Understands, UnderstandsError, UnderstandsV1, Versions};

/// The version byte that feed messages are encoded under. Any change of a form in this file, a new variant of an enum too,
/// needs a higher one, and the forms of the one before stay readable.
pub const FEED_VERSION: u8 = 1;

/// The versions of feed messages that this build reads and writes.
pub const FEED_VERSIONS: Versions = Versions { oldest: 1, newest: FEED_VERSION };

/// Why a feed message that was decoded is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A text that is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What the sender says of itself makes no sense.
    #[error(transparent)]
    Understands(#[from] UnderstandsError),
    /// More control nodes, or longer addresses, than there can be.
    #[error("{CONTROL_NODES_MAX} control nodes at addresses of {ADDRESS_BYTES_MAX} bytes are the most")]
    ControlNodes,
}

/// The first wire form of [`GenerationId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct GenerationIdV1 {
    cluster: [u8; 16],
    recovery_epoch: u32,
    revision: u64,
    digest: [u8; 32],
}

/// The first wire form of [`ToControl`].
#[derive(Debug, Encode, Decode)]
pub enum ToControlV1 {
    /// [`ToControl::Hello`].
    Hello(HelloV1),
    /// [`ToControl::Acknowledge`].
    Acknowledge {
        /// The generation meant.
        generation: GenerationIdV1,
        /// How far.
        stage: StageV1,
    },
    /// [`ToControl::NeedWhole`].
    NeedWhole {
        /// Why.
        reason: String,
    },
}

/// The first wire form of [`Hello`].
#[derive(Debug, Encode, Decode)]
pub struct HelloV1 {
    cluster: [u8; 16],
    recovery_epoch: u32,
    generation: Option<GenerationIdV1>,
    floor: Option<GenerationIdV1>,
    view: String,
    build: String,
    instance: u64,
    understands: UnderstandsV1,
}

/// The first wire form of [`Stage`].
#[derive(Debug, Encode, Decode)]
pub enum StageV1 {
    /// [`Stage::Received`].
    Received,
    /// [`Stage::Validated`].
    Validated,
    /// [`Stage::Serving`].
    Serving,
    /// [`Stage::Refused`].
    Refused {
        /// Why.
        reasons: Vec<String>,
    },
    /// [`Stage::Overdue`].
    Overdue,
}

/// The first wire form of [`ToProxy`].
#[derive(Debug, Encode, Decode)]
pub enum ToProxyV1 {
    /// [`ToProxy::UpToDate`].
    UpToDate {
        /// The generation meant.
        generation: GenerationIdV1,
        /// No quorum stands behind the control node.
        stale: bool,
        /// The control node leads.
        leads: bool,
    },
    /// [`ToProxy::Part`].
    Part(PartV1),
    /// [`ToProxy::Refused`].
    Refused {
        /// Why.
        reason: String,
    },
    /// [`ToProxy::ViewKey`].
    ViewKey(ViewKeyV1),
    /// [`ToProxy::ControlPlane`].
    ControlPlane(ControlPlaneV1),
}

/// The first wire form of [`ControlPlane`].
#[derive(Debug, Encode, Decode)]
pub struct ControlPlaneV1 {
    cluster: [u8; 16],
    recovery_epoch: u32,
    incarnation: u64,
    as_of: u64,
    nodes: Vec<(u64, String)>,
}

/// The first wire form of [`Part`].
#[derive(Debug, Encode, Decode)]
pub struct PartV1 {
    transfer: u64,
    content: ContentV1,
    part: u32,
    of: u32,
    puts: Vec<(Arc<str>, Arc<[u8]>)>,
    deletes: Vec<Arc<str>>,
    secret_puts: Vec<([u8; 32], Arc<[u8]>)>,
    secret_deletes: Vec<[u8; 32]>,
}

/// The first wire form of [`Content`].
#[derive(Debug, Encode, Decode)]
pub enum ContentV1 {
    /// [`Content::Whole`].
    Whole {
        /// The generation.
        target: GenerationIdV1,
    },
    /// [`Content::Delta`].
    Delta {
        /// Where it starts.
        base: GenerationIdV1,
        /// Where it leads.
        target: GenerationIdV1,
    },
}

/// The first wire form of [`ViewKey`]. Wiped when it is dropped, never shown.
#[derive(Encode, Decode)]
pub struct ViewKeyV1 {
    id: [u8; 8],
    key: [u8; KEY_BYTES],
}

impl Drop for ViewKeyV1 {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for ViewKeyV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ViewKeyV1").field("id", &self.id).finish_non_exhaustive()
    }
}

impl From<GenerationId> for GenerationIdV1 {
    fn from(id: GenerationId) -> Self {
        let GenerationId { cluster, recovery_epoch, revision, digest } = id;
        Self { cluster, recovery_epoch, revision, digest: digest.0 }
    }
}

impl From<GenerationIdV1> for GenerationId {
    fn from(wire: GenerationIdV1) -> Self {
        let GenerationIdV1 { cluster, recovery_epoch, revision, digest } = wire;
        Self { cluster, recovery_epoch, revision, digest: Digest(digest) }
    }
}

impl From<ToControl> for ToControlV1 {
    fn from(message: ToControl) -> Self {
        match message {
            ToControl::Hello(hello) => Self::Hello(hello.into()),
            ToControl::Acknowledge { generation, stage } => {
                Self::Acknowledge { generation: generation.into(), stage: stage.into() }
            }
            ToControl::NeedWhole { reason } => Self::NeedWhole { reason },
        }
    }
}

impl TryFrom<ToControlV1> for ToControl {
    type Error = WireError;

    fn try_from(wire: ToControlV1) -> Result<Self, WireError> {
        Ok(match wire {
            ToControlV1::Hello(hello) => Self::Hello(hello.try_into()?),
            ToControlV1::Acknowledge { generation, stage } => {
                Self::Acknowledge { generation: generation.into(), stage: stage.into() }
            }
            ToControlV1::NeedWhole { reason } => Self::NeedWhole { reason },
        })
    }
}

impl From<Hello> for HelloV1 {
    fn from(hello: Hello) -> Self {
        let Hello { cluster, recovery_epoch, generation, floor, view, build, instance, understands } = hello;
        Self {
            cluster,
            recovery_epoch,
            generation: generation.map(Into::into),
            floor: floor.map(Into::into),
            view,
            build,
            instance,
            understands: UnderstandsV1::from(&understands),
        }
    }
}

impl TryFrom<HelloV1> for Hello {
    type Error = WireError;

    fn try_from(wire: HelloV1) -> Result<Self, WireError> {
        let HelloV1 { cluster, recovery_epoch, generation, floor, view, build, instance, understands } = wire;
        Ok(Self {
            cluster,
            recovery_epoch,
            generation: generation.map(Into::into),
            floor: floor.map(Into::into),
            view,
            build,
            instance,
            understands: Understands::try_from(understands)?,
        })
    }
}

impl From<ControlPlane> for ControlPlaneV1 {
    fn from(told: ControlPlane) -> Self {
        let ControlPlane { cluster, recovery_epoch, incarnation, as_of, nodes } = told;
        let nodes = nodes.into_iter().map(|ControlNode { node, address }| (node, address)).collect();
        Self { cluster, recovery_epoch, incarnation, as_of, nodes }
    }
}

impl TryFrom<ControlPlaneV1> for ControlPlane {
    type Error = WireError;

    fn try_from(wire: ControlPlaneV1) -> Result<Self, WireError> {
        let ControlPlaneV1 { cluster, recovery_epoch, incarnation, as_of, nodes } = wire;
        let is_too_long = nodes.iter().any(|(_, address)| address.len() > ADDRESS_BYTES_MAX);
        if nodes.len() > CONTROL_NODES_MAX || is_too_long {
            return Err(WireError::ControlNodes);
        }
        let nodes = nodes.into_iter().map(|(node, address)| ControlNode { node, address }).collect();
        Ok(Self { cluster, recovery_epoch, incarnation, as_of, nodes })
    }
}

impl From<Stage> for StageV1 {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Received => Self::Received,
            Stage::Validated => Self::Validated,
            Stage::Serving => Self::Serving,
            Stage::Refused { reasons } => Self::Refused { reasons },
            Stage::Overdue => Self::Overdue,
        }
    }
}

impl From<StageV1> for Stage {
    fn from(wire: StageV1) -> Self {
        match wire {
            StageV1::Received => Self::Received,
            StageV1::Validated => Self::Validated,
            StageV1::Serving => Self::Serving,
            StageV1::Refused { reasons } => Self::Refused { reasons },
            StageV1::Overdue => Self::Overdue,
        }
    }
}

impl From<ToProxy> for ToProxyV1 {
    fn from(message: ToProxy) -> Self {
        match message {
            ToProxy::UpToDate { generation, stale, leads } => {
                Self::UpToDate { generation: generation.into(), stale, leads }
            }
            ToProxy::Part(part) => Self::Part(part.into()),
            ToProxy::Refused { reason } => Self::Refused { reason },
            ToProxy::ViewKey(key) => {
                let (id, key) = key.to_parts();
                Self::ViewKey(ViewKeyV1 { id, key })
            }
            ToProxy::ControlPlane(told) => Self::ControlPlane(told.into()),
        }
    }
}

impl TryFrom<ToProxyV1> for ToProxy {
    type Error = WireError;

    fn try_from(wire: ToProxyV1) -> Result<Self, WireError> {
        Ok(match wire {
            ToProxyV1::UpToDate { generation, stale, leads } => {
                Self::UpToDate { generation: generation.into(), stale, leads }
            }
            ToProxyV1::Part(part) => Self::Part(part.try_into()?),
            ToProxyV1::Refused { reason } => Self::Refused { reason },
            ToProxyV1::ViewKey(wire) => Self::ViewKey(ViewKey::from_parts(wire.id, wire.key)),
            ToProxyV1::ControlPlane(told) => Self::ControlPlane(told.try_into()?),
        })
    }
}

impl From<Part> for PartV1 {
    fn from(part: Part) -> Self {
        let Part { transfer, content, part, of, puts, deletes, secret_puts, secret_deletes } = part;
        Self {
            transfer,
            content: content.into(),
            part,
            of,
            puts: puts.into_iter().map(|(key, bytes)| (key.into(), bytes)).collect(),
            deletes: deletes.into_iter().map(Into::into).collect(),
            secret_puts: secret_puts.into_iter().map(|(id, envelope)| (id.0, envelope)).collect(),
            secret_deletes: secret_deletes.into_iter().map(|id| id.0).collect(),
        }
    }
}

impl TryFrom<PartV1> for Part {
    type Error = WireError;

    fn try_from(wire: PartV1) -> Result<Self, WireError> {
        let PartV1 { transfer, content, part, of, puts, deletes, secret_puts, secret_deletes } = wire;
        let puts = puts.into_iter().map(|(key, bytes)| Ok((Key::try_from(key)?, bytes)));
        Ok(Self {
            transfer,
            content: content.into(),
            part,
            of,
            puts: puts.collect::<Result<_, KeyError>>()?,
            deletes: deletes.into_iter().map(Key::try_from).collect::<Result<_, KeyError>>()?,
            secret_puts: secret_puts.into_iter().map(|(id, envelope)| (SecretId(id), envelope)).collect(),
            secret_deletes: secret_deletes.into_iter().map(SecretId).collect(),
        })
    }
}

impl From<Content> for ContentV1 {
    fn from(content: Content) -> Self {
        match content {
            Content::Whole { target } => Self::Whole { target: target.into() },
            Content::Delta { base, target } => Self::Delta { base: base.into(), target: target.into() },
        }
    }
}

impl From<ContentV1> for Content {
    fn from(wire: ContentV1) -> Self {
        match wire {
            ContentV1::Whole { target } => Self::Whole { target: target.into() },
            ContentV1::Delta { base, target } => Self::Delta { base: base.into(), target: target.into() },
        }
    }
}

#[cfg(test)]
mod tests;
