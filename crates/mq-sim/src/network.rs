//! The network between brokers, and between clients and brokers: when a message arrives, if it does.
//!
//! Every ordered pair has a link of its own. What a message says is not known here.

use crate::random::Random;
use crate::swarm::NetworkOptions;

/// The longest that a very late message is under way, in microseconds.
const LATE_US_MAX: u64 = 30_000_000;

/// A sender is told of losses at most so often, in microseconds.
const TELL_EVERY_US: u64 = 500_000;

/// The way from one node to another.
#[derive(Clone, Debug, Default)]
struct Link {
    /// So many faults cut it.
    cuts: u32,
    /// Messages lost on it by faults, in millionths.
    loss_ppm: u32,
    /// When its sender was told last that messages were lost on it.
    told_us: u64,
    /// When the last message arrives; none overtakes it unless the run's options allow that.
    last_arrival_us: u64,
}

/// When the copies of a message arrive; most messages have one.
pub(crate) type Arrivals = [Option<u64>; 2];

/// All links. The clients are one node more than there are brokers.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    links: Vec<Link>,
    options: NetworkOptions,
    random: Random,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) late: u64,
}

impl Network {
    /// A network without a fault.
    pub(crate) fn new(brokers: usize, options: NetworkOptions, random: Random) -> Network {
        let nodes = brokers + 1;
        let links = vec![Link::default(); nodes * nodes];
        Network { nodes, links, options, random, lost: 0, duplicated: 0, late: 0 }
    }

    /// The node that all clients are.
    pub(crate) fn clients(&self) -> usize {
        self.nodes - 1
    }

    /// Sends one message between brokers.
    pub(crate) fn send(&mut self, from: usize, to: usize, now_us: u64) -> Arrivals {
        let options = self.options;
        let Some(arrival_us) = self.arrival(from, to, now_us) else { return [None, None] };
        if self.random.per_million(options.late_ppm) {
            self.late += 1;
            return [Some(now_us + self.random.scaled(100_000..=LATE_US_MAX)), None];
        }
        let first = self.in_order(from, to, arrival_us, options.reorders);
        let second = self.random.per_million(options.duplicate_ppm).then(|| {
            self.duplicated += 1;
            first + self.random.scaled(10..=5_000_000)
        });
        [Some(first), second]
    }

    /// Sends a message that is as large as a log: its connection breaks more often before all of it is there.
    pub(crate) fn send_large(&mut self, from: usize, to: usize, now_us: u64) -> Arrivals {
        if self.random.per_million(self.options.large_loss_ppm) {
            self.lost += 1;
            return [None, None];
        }
        self.send(from, to, now_us)
    }

    /// Whether the sender learns now that messages to there do not arrive, as a broken connection would tell it.
    pub(crate) fn tells_loss(&mut self, from: usize, to: usize, is_down: bool, now_us: u64) -> bool {
        let link = &mut self.links[from * self.nodes + to];
        let tells = (link.cuts > 0 || is_down) && now_us >= link.told_us + TELL_EVERY_US;
        if tells {
            link.told_us = now_us;
        }
        tells
    }

    /// Sends a client's call, or an answer to one: a connection keeps the order, and has no copies.
    pub(crate) fn call(&mut self, from: usize, to: usize, now_us: u64) -> Option<u64> {
        let arrival_us = self.arrival(from, to, now_us)?;
        Some(self.in_order(from, to, arrival_us, false))
    }

    fn arrival(&mut self, from: usize, to: usize, now_us: u64) -> Option<u64> {
        let options = self.options;
        let delay_us = self.random.between(options.delay_us_min..=options.delay_us_max);
        let slow = if self.random.one_in(64) { 10 } else { 1 };
        let link = &self.links[from * self.nodes + to];
        let (cuts, loss_ppm) = (link.cuts, link.loss_ppm + options.loss_ppm);
        if cuts > 0 || self.random.per_million(loss_ppm) {
            self.lost += 1;
            return None;
        }
        Some(now_us + delay_us * slow)
    }

    fn in_order(&mut self, from: usize, to: usize, arrival_us: u64, may_overtake: bool) -> u64 {
        let link = &mut self.links[from * self.nodes + to];
        if may_overtake {
            return arrival_us;
        }
        link.last_arrival_us = link.last_arrival_us.max(arrival_us);
        link.last_arrival_us
    }

    /// Nothing gets through from one to the other, until it is mended as often.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.links[from * self.nodes + to].cuts += 1;
    }

    /// Undoes one cut.
    pub(crate) fn mend(&mut self, from: usize, to: usize) {
        let cuts = &mut self.links[from * self.nodes + to].cuts;
        assert!(*cuts > 0, "the link from {from} to {to} is not cut");
        *cuts -= 1;
    }

    /// Loses so many messages from one to the other, in millionths.
    pub(crate) fn lose(&mut self, from: usize, to: usize, loss_ppm: u32) {
        self.links[from * self.nodes + to].loss_ppm = loss_ppm;
    }

    /// Every link is whole again, and everything arrives once and in order.
    pub(crate) fn heal(&mut self) {
        for link in &mut self.links {
            (link.cuts, link.loss_ppm) = (0, 0);
        }
        let NetworkOptions { loss_ppm, large_loss_ppm, duplicate_ppm, late_ppm, .. } = &mut self.options;
        (*loss_ppm, *large_loss_ppm, *duplicate_ppm, *late_ppm) = (0, 0, 0, 0);
    }
}
