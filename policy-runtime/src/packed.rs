//! The packed interface for interpreted languages: one list of 64-bit words each way.

use elis_scheduler::columns::{Column, ColumnRef};
use elis_scheduler::snapshot::{Header, Snapshot, Triggers};
use serde::Deserialize;

use crate::LoadError;

pub(crate) mod bindings {
    //! Generated from `wit/policy.wit`.

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "packed-policy",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) use bindings::{PackedPolicy, PackedPolicyPre};

/// What `describe` gives, as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackedInfo {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) summary: String,
    pub(crate) columns: Vec<String>,
    #[serde(default)]
    triggers: Vec<String>,
    #[serde(default)]
    pub(crate) preemptive: bool,
}

impl PackedInfo {
    pub(crate) fn parse(json: &str) -> Result<Self, LoadError> {
        serde_json::from_str(json).map_err(|e| LoadError::Info(format!("JSON that is wrong: {e}")))
    }

    pub(crate) fn triggers(&self) -> Result<Triggers, LoadError> {
        let mut all = Triggers::NONE;
        for name in &self.triggers {
            all = all.union(match name.as_str() {
                "arrival" => Triggers::ARRIVAL,
                "finish" => Triggers::FINISH,
                "window-end" => Triggers::WINDOW_END,
                "prediction" => Triggers::PREDICTION,
                "memory-pressure" => Triggers::MEMORY_PRESSURE,
                "timer" => Triggers::TIMER,
                other => return Err(LoadError::Info(format!("the unknown trigger {other:?}"))),
            });
        }
        Ok(all)
    }
}

/// Writes a snapshot in the packed layout over whatever `out` held.
pub(crate) fn pack(snapshot: &Snapshot<'_>, columns: &[Column], out: &mut Vec<u64>) {
    out.clear();
    let header = header(&snapshot.header);
    out.push(header.len() as u64);
    out.extend(header);
    for &column in columns {
        let values = snapshot.column(column);
        out.push(values.len() as u64);
        match values {
            ColumnRef::U32s(v) => out.extend(v.iter().map(|&x| u64::from(x))),
            ColumnRef::U64s(v) => out.extend_from_slice(v),
            ColumnRef::F32s(v) => out.extend(v.iter().map(|&x| bits(x))),
        }
    }
}

/// A float as the bits of an f64, which is what Python's `struct` and JavaScript's `DataView` read.
fn bits(x: f32) -> u64 {
    f64::from(x).to_bits()
}

/// The header fields in the order of the contract.
fn header(h: &Header) -> [u64; 27] {
    [
        h.now_us,
        h.seed,
        h.revision,
        h.iteration,
        u64::from(h.fired.bits()),
        u64::from(h.worker),
        u64::from(h.workers),
        u64::from(h.running),
        u64::from(h.waiting),
        u64::from(h.max_num_seqs),
        u64::from(h.max_batched_tokens),
        u64::from(h.window_tokens),
        u64::from(h.plan_max),
        u64::from(h.block_size_tokens),
        u64::from(h.gpu_blocks_total),
        u64::from(h.gpu_blocks_free),
        u64::from(h.cpu_blocks_total),
        u64::from(h.cpu_blocks_free),
        u64::from(h.watermark_blocks),
        u64::from(h.capabilities),
        bits(h.iteration_base_us),
        bits(h.iteration_per_seq_us),
        bits(h.iteration_per_kv_token_us),
        bits(h.iteration_per_prefill_token_us),
        bits(h.swap_per_block_us),
        u64::from(h.last_iteration_us),
        bits(h.recent_tokens_per_s),
    ]
}

#[cfg(test)]
mod tests {
    use elis_scheduler::columns::{JobRow, JobTable, TenantTable};

    use super::*;

    #[test]
    fn the_layout_is_a_counted_header_and_counted_columns() {
        let mut jobs = JobTable::default();
        jobs.push(JobRow {
            id: 7,
            predicted_remaining_tokens: 1.5,
            ..JobRow::default()
        });
        let snapshot = Snapshot {
            header: Header {
                now_us: 42,
                recent_tokens_per_s: 2.5,
                ..Header::default()
            },
            jobs: &jobs,
            tenants: &TenantTable::default(),
            length_histogram: &[],
        };
        let wanted = [
            "job-id",
            "length-histogram",
            "job-predicted-remaining-tokens",
        ];
        let columns = wanted.map(|name| Column::parse(name).unwrap());
        let mut out = vec![99];
        pack(&snapshot, &columns, &mut out);
        assert_eq!((out[0], out[1], out[27]), (27, 42, 2.5f64.to_bits()));
        assert_eq!(out[28..], [1, 7, 0, 1, 1.5f64.to_bits()]);
    }

    #[test]
    fn info_is_checked() {
        let good = r#"{"name":"x","columns":["job-id"],"triggers":["arrival","timer"]}"#;
        let info = PackedInfo::parse(good).unwrap();
        assert_eq!(
            info.triggers().unwrap(),
            Triggers::ARRIVAL.union(Triggers::TIMER)
        );
        assert!(PackedInfo::parse(r#"{"name":"x"}"#).is_err());
        let odd = r#"{"name":"x","columns":[],"triggers":["dawn"]}"#;
        assert!(PackedInfo::parse(odd).unwrap().triggers().is_err());
    }
}
