//! How unevenly tenants are served: VTC's service difference (arXiv 2401.00588).
//!
//! Service is counted in weighted tokens, one for a token of the prompt and two for one of the
//! response. Records say when a response began and ended, not when each token was out, so service
//! is spread evenly in between, as the authors' own evaluation does.

use std::collections::BTreeMap;

use elis_sim::outcome::{Ending, RequestOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::metric::UNSEEN_NS;

/// Weight of a token of the prompt, VTC §5.1.
const PROMPT_WEIGHT: f64 = 1.0;
/// Weight of a token of the response.
const OUTPUT_WEIGHT: f64 = 2.0;
/// The window over which rates are taken, as in the authors' scripts.
const WINDOW_S: f64 = 60.0;
/// Moments of a run at which the difference is taken, as there.
const MOMENTS: usize = 100;

/// How unevenly the tenants of a run were served; weighted tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDifference {
    /// Largest over time of what tenants lack to the rate of the best served one, each counted no
    /// further than to its own demand; weighted tokens a second.
    pub max_per_s: f64,
    /// Mean over time of the same.
    pub mean_per_s: f64,
    /// The most by which the service of two tenants drifted apart while both had requests waiting
    /// all the time, weighted tokens: what VTC bounds.
    pub backlogged_tokens: f64,
}

/// The difference over the requests of one run; none with fewer than two tenants.
pub fn service_difference(requests: &[RequestOutcome]) -> Option<ServiceDifference> {
    let mut rows = BTreeMap::new();
    for request in requests {
        let next = rows.len();
        rows.entry(request.tenant).or_insert(next);
    }
    if rows.len() < 2 {
        return None;
    }
    let lives: Vec<Life> = requests
        .iter()
        .map(|r| Life::of(r, rows[&r.tenant]))
        .collect();
    let differences = over_time(&lives, rows.len());
    Some(ServiceDifference {
        max_per_s: differences.iter().copied().fold(0.0, f64::max),
        mean_per_s: differences.iter().sum::<f64>() / differences.len() as f64,
        backlogged_tokens: backlogged(&lives, rows.len()),
    })
}

/// What counts of a request, times in seconds.
struct Life {
    tenant: usize,
    arrival_s: f64,
    admitted_s: f64,
    begins_s: f64,
    ends_s: f64,
    prompt: f64,
    output: f64,
    served: bool,
}

impl Life {
    fn of(request: &RequestOutcome, tenant: usize) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        // From outside a server the first token is the first that is seen of a request.
        let admitted_ns = match request.first_run_ns {
            UNSEEN_NS => request.first_token_ns,
            seen => seen,
        };
        Self {
            tenant,
            arrival_s: seconds(request.arrival_ns),
            admitted_s: seconds(admitted_ns),
            begins_s: seconds(request.first_token_ns),
            ends_s: seconds(request.finish_ns),
            prompt: PROMPT_WEIGHT * f64::from(request.prompt_tokens),
            output: OUTPUT_WEIGHT * f64::from(request.output_tokens),
            served: request.ending == Ending::Completed,
        }
    }

    /// The share of its service that lies between two times.
    fn share_between(&self, from_s: f64, to_s: f64) -> f64 {
        let length_s = self.ends_s - self.begins_s;
        if length_s <= 0.0 {
            return f64::from(u8::from((from_s..to_s).contains(&self.ends_s)));
        }
        (to_s.min(self.ends_s) - from_s.max(self.begins_s)).max(0.0) / length_s
    }
}

/// Σ over tenants of min(best rate − own rate, |demand − own rate|), at each moment.
fn over_time(lives: &[Life], tenants: usize) -> Vec<f64> {
    let span_s = lives.iter().map(|life| life.arrival_s).fold(0.0, f64::max);
    let moment = |i: usize| {
        let middle_s = span_s * i as f64 / MOMENTS as f64;
        let (from_s, to_s) = (middle_s - WINDOW_S / 2.0, middle_s + WINDOW_S / 2.0);
        let mut service = vec![0.0; tenants];
        let mut demand = vec![0.0; tenants];
        for life in lives {
            let cost = (life.prompt + life.output) / WINDOW_S;
            if (from_s..=to_s).contains(&life.arrival_s) {
                demand[life.tenant] += cost;
            }
            if life.served {
                service[life.tenant] += cost * life.share_between(from_s, to_s);
            }
        }
        let best = service.iter().copied().fold(0.0, f64::max);
        let lacks = service.iter().zip(&demand);
        lacks
            .map(|(own, wanted): (&f64, &f64)| (best - own).min((wanted - own).abs()))
            .sum()
    };
    (0..MOMENTS).map(moment).collect()
}

/// What happens to a tenant at a time.
#[derive(Clone, Copy)]
enum Event {
    Waits,
    Admitted { prompt: f64 },
    Begins { per_s: f64 },
    Ends { per_s: f64 },
    Refused,
}

/// The widest swing of the service of one tenant minus that of another over a span of time in which
/// both have something waiting, over all pairs.
fn backlogged(lives: &[Life], tenants: usize) -> f64 {
    let mut events: Vec<(f64, usize, Event)> = Vec::with_capacity(4 * lives.len());
    for life in lives {
        let tenant = life.tenant;
        events.push((life.arrival_s, tenant, Event::Waits));
        if !life.served {
            events.push((life.ends_s, tenant, Event::Refused));
            continue;
        }
        let length_s = life.ends_s - life.begins_s;
        let (at_once, per_s) = if length_s > 0.0 {
            (0.0, life.output / length_s)
        } else {
            (life.output, 0.0)
        };
        let prompt = life.prompt + at_once;
        events.push((life.admitted_s, tenant, Event::Admitted { prompt }));
        events.push((life.begins_s, tenant, Event::Begins { per_s }));
        events.push((life.ends_s, tenant, Event::Ends { per_s }));
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut waiting = vec![0_u64; tenants];
    let mut service = vec![0.0; tenants];
    let mut rate = vec![0.0; tenants];
    let mut swings: Vec<Option<[f64; 2]>> = vec![None; tenants * tenants];
    let (mut now_s, mut widest) = (0.0, 0.0_f64);
    for (at_s, tenant, event) in events {
        for (service, rate) in service.iter_mut().zip(&rate) {
            *service += rate * (at_s - now_s);
        }
        now_s = at_s;
        // Seen before and after, since an admission is a jump.
        widest = widest.max(watch(&mut swings, &waiting, &service));
        match event {
            Event::Waits => waiting[tenant] += 1,
            Event::Refused => waiting[tenant] -= 1,
            Event::Admitted { prompt } => {
                waiting[tenant] -= 1;
                service[tenant] += prompt;
            }
            Event::Begins { per_s } => rate[tenant] += per_s,
            Event::Ends { per_s } => rate[tenant] -= per_s,
        }
        widest = widest.max(watch(&mut swings, &waiting, &service));
    }
    widest
}

/// Follows the differences of all pairs that wait, forgets those of the others.
fn watch(swings: &mut [Option<[f64; 2]>], waiting: &[u64], service: &[f64]) -> f64 {
    let tenants = service.len();
    let mut widest = 0.0_f64;
    for i in 0..tenants {
        for j in i + 1..tenants {
            let swing = &mut swings[i * tenants + j];
            if waiting[i] == 0 || waiting[j] == 0 {
                *swing = None;
                continue;
            }
            let apart = service[i] - service[j];
            let [low, high] = swing.unwrap_or([apart, apart]);
            let now = [low.min(apart), high.max(apart)];
            *swing = Some(now);
            widest = widest.max(now[1] - now[0]);
        }
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::request;

    /// A request that waits, then runs alone: times in seconds.
    fn served(tenant: u32, times_s: [u64; 3], tokens: [u32; 2]) -> RequestOutcome {
        let [arrival, first, finish] = times_s.map(|s| s * 1_000_000_000);
        RequestOutcome {
            tenant,
            first_run_ns: first,
            first_token_ns: first,
            finish_ns: finish,
            prompt_tokens: tokens[0],
            ..request(0, arrival, tokens[1])
        }
    }

    #[test]
    fn one_tenant_cannot_be_served_unevenly() {
        assert_eq!(service_difference(&[served(3, [0, 1, 2], [10, 10])]), None);
        assert_eq!(service_difference(&[]), None);
    }

    #[test]
    fn what_a_tenant_lacks_is_counted_up_to_its_demand() {
        // Both ask for 100 + 2·100 = 300 at once; one gets it at 0..10 s, the other at 100..110 s.
        let runs = [
            served(0, [0, 0, 10], [100, 100]),
            served(1, [0, 100, 110], [100, 100]),
        ];
        let found = service_difference(&runs).unwrap();
        // Around 0 s the first gets 300 in 60 s and the second nothing of its 300.
        assert!((found.max_per_s - 5.0).abs() < 1e-9, "{found:?}");
        // Had the second asked for little, little would be lacking.
        let modest = [runs[0].clone(), served(1, [0, 100, 110], [20, 20])];
        let found = service_difference(&modest).unwrap();
        assert!((found.max_per_s - 1.0).abs() < 1e-9, "{found:?}");
        // Where both get the same at the same time, nothing is lacking.
        let fair = [runs[0].clone(), served(1, [0, 0, 10], [100, 100])];
        assert_eq!(service_difference(&fair).unwrap().max_per_s, 0.0);
    }

    #[test]
    fn the_swing_counts_only_while_both_wait() {
        let always = |tenant| served(tenant, [0, 50, 60], [1, 1]);
        // Tenant 0 is served 30 + 2·5 while requests of both wait; nobody serves tenant 1.
        let both = [always(0), always(1), served(0, [0, 10, 20], [30, 5])];
        let found = service_difference(&both).unwrap();
        assert!((found.backlogged_tokens - 40.0).abs() < 1e-9, "{found:?}");
        // Without its waiting requests the same service is nobody's loss.
        let alone = [always(0), served(1, [70, 70, 80], [9, 9]), both[2].clone()];
        assert_eq!(service_difference(&alone).unwrap().backlogged_tokens, 0.0);
    }
}
