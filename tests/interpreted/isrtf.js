// Iterative shortest remaining time first, in JavaScript: the rule of policies/isrtf, with its
// default settings, over the packed interface.

const LOCKED = 2;
const LOOKAHEAD = 16;
// Words of the header, counted from the one that says how many there are.
const MAX_NUM_SEQS = 10;
const PLAN_MAX = 13;

const word = new DataView(new ArrayBuffer(8));

// QuickJS gets the words as numbers, exact up to 2^53 and beyond that in their first 53 bits. That
// is enough for the bits of a float that began as one of 32 bits: the rest of them are zero.
function float(bits) {
  word.setBigUint64(0, BigInt(bits));
  return word.getFloat64(0);
}

function columns(snapshot) {
  const found = [];
  let at = 1 + snapshot[0];
  while (at < snapshot.length) {
    const length = snapshot[at];
    found.push(snapshot.slice(at + 1, at + 1 + length));
    at += 1 + length;
  }
  return found;
}

// The tokens that a job still needs; rounded as 32-bit floats are, like the rule in Rust.
function score(flags, remaining, predictedAt, generated) {
  if (flags & LOCKED) return -Infinity;
  const since = Math.max(0, generated - predictedAt);
  const left = Math.fround(float(remaining) - since);
  if (Number.isNaN(left)) return Infinity;
  return left < 0 ? 0 : left;
}

function before(a, b) {
  return a < b ? -1 : Number(a > b);
}

export const packed = {
  describe() {
    return JSON.stringify({
      name: "isrtf-javascript",
      version: "0.1.0",
      summary: "Fewest predicted remaining tokens first, predicted anew at each window.",
      columns: [
        "job-id",
        "job-arrival-us",
        "job-flags",
        "job-predicted-remaining-tokens",
        "job-predicted-at-tokens",
        "job-generated-tokens",
      ],
      triggers: ["arrival", "finish", "window-end", "prediction"],
      preemptive: true,
    });
  },

  configure(_config) {},

  decide(snapshot) {
    const [ids, arrivals, flags, remaining, predictedAt, generated] = columns(snapshot);
    const rows = Array.from(ids, (id, row) => ({
      id,
      arrival: arrivals[row],
      score: score(flags[row], remaining[row], predictedAt[row], generated[row]),
    }));
    rows.sort(
      (a, b) => before(a.score, b.score) || before(a.arrival, b.arrival) || before(a.id, b.id),
    );
    const count = Math.min(snapshot[MAX_NUM_SEQS] + LOOKAHEAD, snapshot[PLAN_MAX]);
    return rows.slice(0, count).map((row) => row.id);
  },
};
