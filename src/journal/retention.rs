//! Which files of the journal end: the oldest first, by age and size.

use super::Shared;
use super::segment::Segment;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

impl Shared {
    /// Removes files whose time is over, as seen at `now`, and those for which there is
    /// no room. One that was last written before that is no longer written to, so that
    /// it can end as well when nothing happens any more.
    pub(super) fn tidy(&self, now: SystemTime) -> io::Result<()> {
        self.close_aged(now)?;
        let segments = self.segments();
        let mut octets = 0;
        for segment in segments.values() {
            octets += segment.file.metadata()?.len();
        }
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // The last file stays: it knows the position.
        for (segment, behind) in segments.values().zip(segments.keys().skip(1)) {
            let is_held = held.is_some_and(|held| behind - 1 > held.0);
            let is_over = octets > self.options.max_octets || self.is_aged(segment, now)?;
            if is_held || !is_over {
                break;
            }
            octets = octets.saturating_sub(segment.file.metadata()?.len());
            Segment::remove(&self.options.directory, segment.first)?;
            self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&segment.first);
        }
        Ok(())
    }

    /// Begins another file when the last one has events that are too old.
    fn close_aged(&self, now: SystemTime) -> io::Result<()> {
        let mut tail = self.tail();
        let Some(active) = &tail.active else { return Ok(()) };
        if active.first < tail.next && self.is_aged(active, now)? {
            tail.active = Some(self.begin(&tail)?);
        }
        Ok(())
    }

    fn is_aged(&self, segment: &Arc<Segment>, now: SystemTime) -> io::Result<bool> {
        let age = now.duration_since(segment.file.metadata()?.modified()?);
        Ok(age.is_ok_and(|age| age > self.options.keep))
    }
}
