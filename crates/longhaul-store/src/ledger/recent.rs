//! Jobs that ended a moment ago: whoever waits for them asks next, and is answered from memory.
//!
//! Only ended jobs stand here, and an ended job never changes; what is erased is taken out in the commit that erases it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use longhaul_core::{JobId, Tenant};

use super::NumberMap;
use crate::JobView;

/// How many bytes of payload are kept. Seconds of traffic at full speed; little beside the page cache.
const BYTES_MOST: usize = 8 * 1024 * 1024;

/// What a kept job costs besides its payloads, about.
const OVERHEAD: usize = 768;

#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    views: NumberMap<JobId, Arc<JobView>>,
    order: VecDeque<(JobId, usize)>,
    bytes: usize,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, view: Arc<JobView>) {
        let size = OVERHEAD
            + usize::try_from(view.input.size()).unwrap_or(usize::MAX / 2)
            + view.output.as_ref().map_or(0, |output| usize::try_from(output.size()).unwrap_or(usize::MAX / 2));
        if size > BYTES_MOST / 64 {
            return;
        }
        let mut inner = self.lock();
        let id = view.job.spec.id;
        inner.order.push_back((id, size));
        inner.views.insert(id, view);
        inner.bytes += size;
        while inner.bytes > BYTES_MOST {
            let Some((oldest, size)) = inner.order.pop_front() else { break };
            inner.views.remove(&oldest);
            inner.bytes -= size;
        }
    }

    pub(crate) fn get(&self, tenant: &Tenant, id: JobId) -> Option<Arc<JobView>> {
        self.lock().views.get(&id).filter(|view| view.job.spec.tenant == *tenant).cloned()
    }

    pub(crate) fn remove(&self, id: &JobId) {
        self.lock().views.remove(id);
    }
}
