//! Who pays: slowdown by length of the response and by tenant.

use std::collections::BTreeMap;

use elis_sim::outcome::RequestOutcome;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{Distribution, Metric, Sample};

/// Tenants that are listed one by one; the rest is still in Jain's index.
pub const TENANT_ROWS: usize = 64;

/// A third of the requests by length of the response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassResult {
    /// `short`, `medium` or `long`.
    pub class: String,
    /// The shortest response in the class.
    pub from_tokens: u32,
    /// The longest response in the class.
    pub to_tokens: u32,
    /// JCT over isolated time, in the class.
    pub slowdown: Distribution,
    /// JCT in the class, milliseconds.
    pub jct_ms: Distribution,
}

/// What one tenant saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TenantResult {
    /// Number of the tenant.
    pub tenant: u32,
    /// Its completed requests.
    pub requests: u64,
    /// Mean JCT, milliseconds.
    pub jct_mean_ms: Option<f64>,
    /// Mean of JCT over isolated time.
    pub slowdown_mean: Option<f64>,
    /// 99th percentile of the same.
    pub slowdown_p99: Option<f64>,
}

/// Splits completed requests at the terciles of their pooled lengths.
///
/// A length is wholly in one class, so with many equal lengths the classes are not equally large;
/// the bounds depend on the workload alone and so are the same for all policies.
pub fn by_length(requests: &[&RequestOutcome]) -> Vec<ClassResult> {
    let lengths = Sample::new(requests.iter().map(|r| f64::from(r.output_tokens)));
    let (Some(low), Some(high)) = (lengths.quantile(1.0 / 3.0), lengths.quantile(2.0 / 3.0)) else {
        return Vec::new();
    };
    let class_of = |r: &RequestOutcome| match f64::from(r.output_tokens) {
        tokens if tokens <= low => 0,
        tokens if tokens <= high => 1,
        _ => 2,
    };
    let mut classes: [Vec<&RequestOutcome>; 3] = Default::default();
    for request in requests {
        classes[class_of(request)].push(request);
    }
    let named = ["short", "medium", "long"].into_iter().zip(classes);
    named
        .filter_map(|(name, members)| class(name, &members))
        .collect()
}

fn class(name: &str, members: &[&RequestOutcome]) -> Option<ClassResult> {
    let of =
        |metric: Metric| Sample::new(members.iter().filter_map(|r| metric.of(r))).distribution(&[]);
    Some(ClassResult {
        class: name.into(),
        from_tokens: members.iter().map(|r| r.output_tokens).min()?,
        to_tokens: members.iter().map(|r| r.output_tokens).max()?,
        slowdown: of(Metric::Slowdown),
        jct_ms: of(Metric::Jct),
    })
}

/// Every tenant, by number.
pub fn by_tenant(requests: &[&RequestOutcome]) -> Vec<TenantResult> {
    let mut tenants: BTreeMap<u32, Vec<&RequestOutcome>> = BTreeMap::new();
    for request in requests {
        tenants.entry(request.tenant).or_default().push(request);
    }
    let row = |(tenant, members): (u32, Vec<&RequestOutcome>)| {
        let of = |metric: Metric| Sample::new(members.iter().filter_map(|r| metric.of(r)));
        let slowdown = of(Metric::Slowdown);
        TenantResult {
            tenant,
            requests: members.len() as u64,
            jct_mean_ms: of(Metric::Jct).mean(),
            slowdown_mean: slowdown.mean(),
            slowdown_p99: slowdown.quantile(0.99),
        }
    };
    tenants.into_iter().map(row).collect()
}

/// Keeps the `TENANT_ROWS` tenants with the most requests, by number.
pub fn largest(mut tenants: Vec<TenantResult>) -> Vec<TenantResult> {
    tenants.sort_by_key(|t| (std::cmp::Reverse(t.requests), t.tenant));
    tenants.truncate(TENANT_ROWS);
    tenants.sort_by_key(|t| t.tenant);
    tenants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::request;

    #[test]
    fn terciles_of_nine() {
        let all: Vec<RequestOutcome> = (0..9).map(|i| request(i, 0, 10 + i as u32)).collect();
        let classes = by_length(&all.iter().collect::<Vec<_>>());
        let bounds: Vec<_> = classes
            .iter()
            .map(|c| (c.from_tokens, c.to_tokens))
            .collect();
        assert_eq!(bounds, [(10, 12), (13, 15), (16, 18)]);
        assert_eq!(classes[2].slowdown.mean, Some(1.0));
    }

    #[test]
    fn equal_lengths_stay_together() {
        let all: Vec<RequestOutcome> = (0..9).map(|i| request(i, 0, 10)).collect();
        let classes = by_length(&all.iter().collect::<Vec<_>>());
        assert_eq!((classes.len(), classes[0].slowdown.n), (1, 9));
        assert!(by_length(&[]).is_empty());
    }

    #[test]
    fn the_largest_tenants_are_kept() {
        let all: Vec<RequestOutcome> = (0..200)
            .map(|i| {
                let mut r = request(i, 0, 10);
                r.tenant = if i < 100 { i as u32 } else { 99 };
                r
            })
            .collect();
        let tenants = by_tenant(&all.iter().collect::<Vec<_>>());
        assert_eq!((tenants.len(), tenants[99].requests), (100, 101));
        let kept = largest(tenants);
        assert_eq!((kept.len(), kept[63].tenant), (TENANT_ROWS, 99));
    }
}
