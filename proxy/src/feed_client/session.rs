//! One attachment from hello to its end: takes transfers, reports stages, and looks for a better control node where this one is
//! stale or wordless. It must not leave a control node for another that is no better.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ravelin_config::GenerationId;
use ravelin_config::feed::{Stage, Step, ToControl, ToProxy};
use ravelin_transport::LaneSender;
use ravelin_transport::backoff::Backoff;
use tokio::time::{Instant, sleep_until};

use super::attachment::{self, Attachment, Offer, Worth, read, send, weigh};
use super::candidates::Candidates;
use super::watch::Watch;
use super::{Ended, FeedClient, FeedStatus, FeedTimes, Verdict, text_of};

/// How a session ended.
pub(super) enum Outcome {
    /// Another control node is better, and has said its first word.
    Moved(Attachment),
    /// The candidate of this place is left.
    Ended(usize, Ended),
}

/// Another control node being asked.
type Scouting = Pin<Box<dyn Future<Output = (usize, Result<Attachment, Ended>)> + Send>>;

/// What has been said and is due on one lane.
struct Session<'a> {
    place: usize,
    sender: LaneSender,
    watch: Watch,
    /// The generation that was reported as served.
    told: Option<GenerationId>,
    candidates: &'a mut Candidates,
    waits: &'a mut Backoff,
    started: Instant,
    scouting: Option<Scouting>,
    scout_at: Instant,
    times: FeedTimes,
}

impl FeedClient {
    /// Keeps an attachment until it ends or a better one is found.
    pub(super) async fn session(
        &mut self,
        attachment: Attachment,
        candidates: &mut Candidates,
        waits: &mut Backoff,
    ) -> Outcome {
        let Attachment { place, connection: _connection, sender, mut lane, heard } = attachment;
        self.tell_attached(candidates.address(place));
        self.receiver.reconnected();
        let now = Instant::now();
        let mut session = Session {
            place,
            sender,
            watch: Watch::new(self.times),
            told: None,
            scout_at: now + waits.failed(Duration::ZERO),
            candidates,
            waits,
            started: now,
            scouting: None,
            times: self.times,
        };
        let begun = async {
            self.tell_serving(&mut session).await?;
            for word in heard {
                self.message(&mut session, word).await?;
            }
            Ok(())
        };
        if let Err(ended) = begun.await {
            return Outcome::Ended(place, ended);
        }
        loop {
            match self.turn(&mut session, &mut lane).await {
                Ok(None) => {}
                Ok(Some(better)) => return Outcome::Moved(better),
                Err(ended) => return Outcome::Ended(place, ended),
            }
        }
    }

    fn tell_attached(&mut self, address: &str) {
        let before = self.status.borrow().attached.clone();
        match before {
            Some(before) => {
                tracing::info!(from = %before, controller = address, "moved to a better control node")
            }
            None => tracing::info!(controller = address, "attached to a control node"),
        }
        let attached = Some(address.to_owned());
        self.status.send_modify(|status| {
            *status = FeedStatus { attached, stale: false, last_error: None, overdue: status.overdue };
        });
    }

    /// Waits for one thing and follows it. Gives the better attachment, if one was found.
    async fn turn(
        &mut self,
        session: &mut Session<'_>,
        lane: &mut ravelin_transport::LaneReceiver,
    ) -> Result<Option<Attachment>, Ended> {
        let (leave_at, why) = session.watch.deadline(self.receiver.held()).unzip();
        let may_scout = session.scouting.is_none();
        tokio::select! {
            frame = lane.receive() => {
                let frame = frame?.ok_or(Ended::Closed)?;
                self.message(session, read(&frame)?).await?;
            }
            verdict = self.verdicts.recv() => self.verdict(session, verdict.ok_or(Ended::Process)?).await?,
            changed = self.serving.changed() => {
                changed.map_err(|_| Ended::Process)?;
                self.tell_serving(session).await?;
            }
            () = at(session.watch.overdue_at()) => self.overdue(session).await?,
            () = at(leave_at) => return Err(why.unwrap_or(Ended::Closed)),
            () = sleep_until(session.scout_at), if may_scout => self.begin_scouting(session),
            (place, scouted) = ended(&mut session.scouting) => {
                session.scouting = None;
                return Ok(self.scouted(session, place, scouted));
            }
        }
        Ok(None)
    }

    /// The compiler does not come to an end with what it was given: this proxy serves what is old, and says so.
    async fn overdue(&mut self, session: &mut Session<'_>) -> Result<(), Ended> {
        let Some(generation) = session.watch.tell_overdue() else { return Ok(()) };
        tracing::error!(
            %generation, after = ?self.times.judged,
            "a generation is neither taken nor refused: the table thread hangs, or has far too much to do; what is served is old"
        );
        self.status.send_modify(|status| status.overdue = Some(generation));
        session.say(ToControl::Acknowledge { generation, stage: Stage::Overdue }).await
    }

    fn begin_scouting(&self, session: &mut Session<'_>) {
        let now = Instant::now();
        let Some(place) = session.candidates.other(session.place, now) else {
            session.scout_later(now);
            return;
        };
        let Some(target) = session.candidates.ask(place) else { return };
        let (transport, hello, times) = (Arc::clone(&self.transport), self.hello(), self.times);
        session.scouting = Some(Box::pin(async move {
            (place, attachment::scout(place, transport, target, hello, times).await)
        }));
    }

    /// Another control node was asked: gives it if it is better than the present one.
    fn scouted(
        &self,
        session: &mut Session<'_>,
        place: usize,
        scouted: Result<Attachment, Ended>,
    ) -> Option<Attachment> {
        let now = Instant::now();
        session.scout_later(now);
        let found = match scouted {
            Ok(found) => found,
            Err(error) => {
                let text = text_of(&error);
                let controller = session.candidates.address(place);
                tracing::debug!(controller, error = %text, "another control node was asked in vain");
                session.candidates.failed(place, &error, &text, now);
                return None;
            }
        };
        let newest = self.receiver.floor().or(self.receiver.held());
        match (weigh(&found.heard, newest), session.watch.worth()) {
            // A present node that is well gets the time to bring it too: there is no better one then.
            (Offer::Newer(generation), Worth::Leading | Worth::Fresh) => session.watch.owe(generation, now),
            (Offer::Newer(_), _) => return Some(found),
            (Offer::Same(worth), present) if worth > present => return Some(found),
            _ => {}
        }
        None
    }

    async fn verdict(&mut self, session: &mut Session<'_>, verdict: Verdict) -> Result<(), Ended> {
        self.note(&verdict);
        let (generation, stage) = match verdict {
            Verdict::Validated(generation, _) => (generation, Stage::Validated),
            Verdict::Refused(generation, reasons) => (generation, Stage::Refused { reasons }),
            Verdict::Incomplete(generation, reason) => {
                tracing::info!(%reason, "asking for the whole generation");
                session.watch.judged(generation, Instant::now());
                return session.say(ToControl::NeedWhole { reason }).await;
            }
        };
        session.watch.judged(generation, Instant::now());
        session.say(ToControl::Acknowledge { generation, stage }).await?;
        self.tell_serving(session).await
    }

    /// Says once what is served, and only of the generation that is held: validated comes before serving.
    async fn tell_serving(&mut self, session: &mut Session<'_>) -> Result<(), Ended> {
        let serving = *self.serving.borrow_and_update();
        let Some(generation) = serving.filter(|generation| self.receiver.held() == Some(*generation)) else {
            return Ok(());
        };
        if session.told != serving {
            session.told = serving;
            session.say(ToControl::Acknowledge { generation, stage: Stage::Serving }).await?;
        }
        Ok(())
    }

    async fn message(&mut self, session: &mut Session<'_>, message: ToProxy) -> Result<(), Ended> {
        let now = Instant::now();
        if let ToProxy::ControlPlane(told) = message {
            // It says nothing of what is fed, and a cluster without any configuration says nothing else.
            if told.cluster == self.cluster && self.known.learn(told) {
                session.candidates.follow(self.known.nodes(), now);
            }
            return Ok(());
        }
        let is_first = session.watch.heard(now);
        let (mut is_part, mut is_standing) = (false, false);
        match &message {
            ToProxy::UpToDate { stale, leads, .. } => {
                is_standing = true;
                self.heard_stale(session, *stale, now);
                if session.watch.set_leads(*leads) {
                    session.scout_later(now);
                }
            }
            ToProxy::Part(part) => {
                is_part = true;
                if part.part == 0 {
                    session.watch.transfer(now)?;
                }
            }
            ToProxy::ViewKey(_) | ToProxy::Refused { .. } | ToProxy::ControlPlane(_) => {}
        }
        if is_first && session.watch.worth() == Worth::Fresh {
            session.scout_later(now);
        }
        match self.receiver.handle(message) {
            Step::Nothing if is_part => {
                session.watch.part(now);
                Ok(())
            }
            // Signs of life are no progress of a transfer.
            Step::Nothing if is_standing && !session.watch.is_part_due() => {
                session.useful(now);
                Ok(())
            }
            Step::Nothing => Ok(()),
            Step::Complete { generation, map } => {
                session.useful(now);
                session.watch.judging(generation, now);
                session.say(ToControl::Acknowledge { generation, stage: Stage::Received }).await?;
                (self.offer)(generation, map);
                Ok(())
            }
            Step::Held { generation } => {
                session.watch.nothing_due();
                session.say(ToControl::Acknowledge { generation, stage: Stage::Validated }).await
            }
            Step::NeedWhole { reason } => {
                tracing::info!(%reason, "asking for the whole generation");
                session.watch.transfer(now)?;
                session.say(ToControl::NeedWhole { reason }).await
            }
            Step::GoesBackwards { offered, held } => {
                Err(Ended::Behind { offered: Box::new(offered), held: Box::new(held) })
            }
            Step::Refused { reason } => Err(Ended::Refused(reason)),
        }
    }

    fn heard_stale(&self, session: &mut Session<'_>, stale: bool, now: Instant) {
        if !session.watch.set_stale(stale) {
            return;
        }
        let controller = session.candidates.address(session.place);
        if stale {
            tracing::warn!(
                controller,
                "no quorum stands behind the control node: what it feeds may be old; another one is looked for"
            );
            *session.waits = Backoff::new(self.times.scout, self.seed);
            session.scout_at = now + session.waits.failed(Duration::ZERO);
        } else {
            tracing::info!(controller, "a quorum stands behind the control node again");
            session.scout_later(now);
        }
        self.status.send_modify(|status| status.stale = stale);
    }
}

impl Session<'_> {
    async fn say(&mut self, message: ToControl) -> Result<(), Ended> {
        send(&mut self.sender, message, self.times).await
    }

    /// The control node brought something that counts.
    fn useful(&mut self, now: Instant) {
        // Once only: what counts is how long it has been of use.
        if self.watch.useful() {
            self.candidates.useful(self.place, now);
        }
    }

    /// Another control node is asked after a while: soon where this one is stale, wordless or leads, rarely where it is well.
    fn scout_later(&mut self, now: Instant) {
        let wait = match self.watch.worth() {
            Worth::Wordless | Worth::Stale | Worth::Leading => {
                self.waits.failed(now.duration_since(self.started))
            }
            Worth::Fresh => self.watch.audit_interval().mul_f64(rand::random_range(0.5..1.0)),
        };
        self.scout_at = now + wait;
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn ended(scouting: &mut Option<Scouting>) -> (usize, Result<Attachment, Ended>) {
    match scouting {
        Some(scouting) => scouting.await,
        None => std::future::pending().await,
    }
}
