//! How one of several members is chosen, servers or services alike: by the client's cookie if there is one, else by the strategy. It
//! never waits and never fails: there is a member that is up, or none.

use http::{HeaderMap, HeaderValue};
use ravelin_config::dynamic::{Sticky as StickyConfig, Strategy as StrategyConfig};

use super::least_time::LeastTime;
use super::rendezvous::Rendezvous;
use super::server::Server;
use super::sticky::Sticky;
use super::turns::Turns;
use super::two_choices::TwoChoices;
use crate::middleware::CompileError;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// The address of the connection's other end, as text.
    pub client: &'a [u8],
}

/// What was chosen.
#[derive(Debug)]
pub struct Choice<'c, M> {
    /// The member.
    pub member: &'c M,
    /// The `Set-Cookie` by which the client comes back to it, where it has none that is good.
    pub cookie: Option<&'c HeaderValue>,
}

/// Who would be chosen, and by what: told without choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foretold {
    /// The one that the client's cookie names.
    Cookie(usize),
    /// The one that the client's address leads to.
    Client(usize),
    /// They take turns, and this one is next, unless somebody else asks first.
    Turn(usize),
    /// The one of two, drawn by chance, that has less to do.
    TwoChoices,
    /// The one that answers soonest for what it has to do.
    LeastTime,
    /// All are down, or there are none.
    Nobody,
}

#[derive(Debug)]
enum Strategy {
    Turns(Turns),
    Rendezvous(Rendezvous),
    TwoChoices(TwoChoices),
    LeastTime(LeastTime),
}

/// Chooses among members by number.
#[derive(Debug)]
pub(super) struct Chooser {
    strategy: Strategy,
    sticky: Option<Sticky>,
}

impl Chooser {
    /// For members of these names and weights, all above 0, of the service of this qualified name.
    ///
    /// # Errors
    /// A cookie that cannot be written.
    pub(super) fn compile(
        strategy: StrategyConfig,
        sticky: Option<&StickyConfig>,
        service: &str,
        members: &[(&str, u64)],
    ) -> Result<Self, CompileError> {
        let weights = || members.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
        let strategy = match strategy {
            StrategyConfig::Wrr => Strategy::Turns(Turns::new(&weights())),
            StrategyConfig::Hrw => Strategy::Rendezvous(Rendezvous::new(members.iter().copied())),
            StrategyConfig::P2c => Strategy::TwoChoices(TwoChoices::default()),
            StrategyConfig::LeastTime => Strategy::LeastTime(LeastTime::new(&weights())),
        };
        let cookie = sticky.and_then(|sticky| sticky.cookie.as_ref());
        let names = || members.iter().map(|(name, _)| *name);
        let sticky = cookie.map(|cookie| Sticky::compile(cookie, service, names())).transpose()?;
        Ok(Self { strategy, sticky })
    }

    /// Whether how busy servers are has to be counted.
    pub(super) fn counts(&self) -> bool {
        matches!(self.strategy, Strategy::TwoChoices(_) | Strategy::LeastTime(_))
    }

    /// Whether it has to be told how soon answers began.
    pub(super) fn measures(&self) -> bool {
        matches!(self.strategy, Strategy::LeastTime(_))
    }

    /// One of the servers.
    pub(super) fn server<'c>(
        &'c self,
        asker: &Asker<'_>,
        servers: &'c [Server],
    ) -> Option<Choice<'c, Server>> {
        let state = |member: usize| servers.get(member).map(|server| &*server.state);
        let in_flight = |member: usize| state(member).map_or(0, |state| state.in_flight());
        let load =
            |member: usize| state(member).map_or((0.0, 0), |state| (state.times.mean(), state.in_flight()));
        self.choose(asker, servers, Server::is_up, in_flight, load)
    }

    /// One of the members that are up.
    pub(super) fn one<'c, M>(
        &'c self,
        asker: &Asker<'_>,
        members: &'c [M],
        up: impl Fn(&M) -> bool,
    ) -> Option<Choice<'c, M>> {
        self.choose(asker, members, up, |_| 0, |_| (0.0, 0))
    }

    /// Who of the members that are up would be chosen. Takes nobody's turn.
    pub(super) fn foretell<M>(&self, asker: &Asker<'_>, members: &[M], up: impl Fn(&M) -> bool) -> Foretold {
        let up = |member: usize| members.get(member).is_some_and(&up);
        let named = self.sticky.as_ref().and_then(|sticky| sticky.named(asker.headers));
        if let Some(named) = named.filter(|named| up(named.member)) {
            return Foretold::Cookie(named.member);
        }
        let found = match &self.strategy {
            Strategy::Turns(turns) => turns.peek(up).map(Foretold::Turn),
            Strategy::Rendezvous(rendezvous) => rendezvous.of(asker.client, up).map(Foretold::Client),
            Strategy::TwoChoices(_) => (0..members.len()).find(|&one| up(one)).map(|_| Foretold::TwoChoices),
            Strategy::LeastTime(_) => (0..members.len()).find(|&one| up(one)).map(|_| Foretold::LeastTime),
        };
        found.unwrap_or(Foretold::Nobody)
    }

    fn choose<'c, M>(
        &'c self,
        asker: &Asker<'_>,
        members: &'c [M],
        up: impl Fn(&M) -> bool,
        in_flight: impl Fn(usize) -> u64,
        load: impl Fn(usize) -> (f64, u64),
    ) -> Option<Choice<'c, M>> {
        let up = |member: usize| members.get(member).is_some_and(&up);
        if let Some(sticky) = &self.sticky
            && let Some(named) = sticky.named(asker.headers)
            && up(named.member)
        {
            let cookie = sticky.field(named.member).filter(|_| named.outdated);
            return members.get(named.member).map(|member| Choice { member, cookie });
        }
        let member = match &self.strategy {
            Strategy::Turns(turns) => turns.next(up),
            Strategy::Rendezvous(rendezvous) => rendezvous.of(asker.client, up),
            Strategy::TwoChoices(choices) => choices.of(members.len(), up, in_flight),
            Strategy::LeastTime(least) => least.of(up, load),
        }?;
        let cookie = self.sticky.as_ref().and_then(|sticky| sticky.field(member));
        members.get(member).map(|member| Choice { member, cookie })
    }
}
