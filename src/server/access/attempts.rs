//! Wrong passwords: how many an address may try.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses that are remembered, some 100 bytes each: more than a LAN has, and a bound for who has a whole network.
const ADDRESSES: usize = 4096;

/// A bucket of attempts for each address that made some, refilled evenly over a minute.
#[derive(Debug)]
pub(in crate::server) struct Attempts {
    per_minute: u32,
    /// The time one attempt takes to come back.
    every: Duration,
    /// When the bucket of an address is full again; those that are full need no entry.
    full_at: HashMap<IpAddr, Instant>,
    forgotten: u64,
}

impl Attempts {
    /// `per_minute` of 0 is taken as 1.
    pub(in crate::server) fn new(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        let every = Duration::from_secs(60) / per_minute;
        Self { per_minute, every, full_at: HashMap::new(), forgotten: 0 }
    }

    /// Allows so many a minute from now on; 0 is taken as 1.
    pub(in crate::server) fn keep_to(&mut self, per_minute: u32) {
        self.per_minute = per_minute.max(1);
        self.every = Duration::from_secs(60) / self.per_minute;
    }

    /// How long `address` must wait before its next attempt; `None` when it may make one now.
    pub(in crate::server) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let full_at = *self.full_at.get(&household(address))?;
        let missing = full_at.saturating_duration_since(now) + self.every;
        missing.checked_sub(self.every * self.per_minute).filter(|wait| !wait.is_zero())
    }

    /// `address` was wrong.
    pub(in crate::server) fn note(&mut self, address: IpAddr, now: Instant) {
        let address = household(address);
        if self.full_at.len() >= ADDRESSES && !self.full_at.contains_key(&address) {
            self.make_room(now);
        }
        let full_at = self.full_at.entry(address).or_insert(now);
        *full_at = (*full_at).max(now) + self.every;
    }

    /// Addresses that were forgotten before their time, since the start.
    pub(in crate::server) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn make_room(&mut self, now: Instant) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= ADDRESSES {
            // The one that would be forgiven first: who tried least, longest ago.
            let first = self.full_at.iter().min_by_key(|(_, full_at)| **full_at).map(|(address, _)| *address);
            if let Some(address) = first {
                self.full_at.remove(&address);
                self.forgotten += 1;
            }
        }
    }
}

/// Whoever has an IPv6 address has its /64 (RFC 6177), and could try with each of them.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_free_then_they_come_back_one_by_one() {
        let start = Instant::now();
        let mut attempts = Attempts::new(10);
        let [one, two] = [[192, 168, 1, 1], [192, 168, 1, 2]].map(IpAddr::from);
        for n in 0..10 {
            assert_eq!(attempts.wait(one, start), None, "{n}");
            attempts.note(one, start);
        }
        assert_eq!(attempts.wait(one, start), Some(Duration::from_secs(6)));
        assert_eq!(attempts.wait(two, start), None);
        let later = start + Duration::from_secs(6);
        assert_eq!(attempts.wait(one, later), None);
        attempts.note(one, later);
        assert!(attempts.wait(one, later).is_some());
        assert_eq!(attempts.wait(one, later + Duration::from_secs(60)), None);
    }

    #[test]
    fn an_ipv6_network_is_one_who_tries() {
        let now = Instant::now();
        let mut attempts = Attempts::new(1);
        attempts.note("2001:db8::1".parse().unwrap(), now);
        assert!(attempts.wait("2001:db8::ffff:2".parse().unwrap(), now).is_some());
        attempts.keep_to(2);
        let wait = attempts.wait("2001:db8::1".parse().unwrap(), now);
        assert_eq!(wait, Some(Duration::from_secs(30)), "what was used up comes back faster");
        attempts.keep_to(1);
        assert_eq!(attempts.wait("2001:db8:0:1::1".parse().unwrap(), now), None);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_who_try_most() {
        let now = Instant::now();
        let mut attempts = Attempts::new(2);
        let worst = IpAddr::from([1, 1, 1, 1]);
        attempts.note(worst, now);
        attempts.note(worst, now);
        for n in 0..10_000_u32 {
            attempts.note(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), now);
        }
        assert_eq!(attempts.full_at.len(), ADDRESSES);
        assert_eq!(attempts.forgotten(), 10_001 - ADDRESSES as u64);
        assert!(attempts.wait(worst, now).is_some());
    }
}
