//! Numbers and times as traces write them.

/// Reads a whole number of tokens; a decimal with a zero fraction (`374.0`, as pandas writes
/// columns with gaps) counts as one.
pub(super) fn tokens(text: &str) -> Option<u32> {
    text.parse().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        (value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value))
            .then_some(value as u32)
    })
}

/// Reads a decimal of some unit as nanoseconds, exactly; exponents fall back to floating point.
pub(super) fn nanoseconds(text: &str, ns_per_unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        let value = text.parse::<f64>().ok()? * ns_per_unit as f64;
        return (0.0..1.8e19).contains(&value).then(|| value.round() as u64);
    }
    let kept = &fraction[..fraction.len().min(15)];
    let base = 10_u128.pow(u32::try_from(kept.len()).ok()?);
    let part = if kept.is_empty() {
        0
    } else {
        kept.parse::<u128>().ok()?
    };
    let rounded = (part * u128::from(ns_per_unit) + base / 2) / base;
    let sum = u128::from(whole.parse::<u64>().ok()?) * u128::from(ns_per_unit) + rounded;
    u64::try_from(sum).ok()
}

/// Reads `2023-11-16 18:17:03.9799600` or the same with an offset such as `+00:00` or `Z`, as
/// nanoseconds since 1970. A time without an offset counts as UTC: only differences matter.
pub(super) fn timestamp_ns(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes()[10], b' ' | b'T') {
        return None;
    }
    let (clock, offset_s) = match rest.find(['+', '-', 'Z']) {
        None => (rest, 0),
        Some(at) => (&rest[..at], offset_seconds(&rest[at..])?),
    };
    let mut parts = date.split('-').map(two_or_more_digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (hour, minute) = (clock.get(..2)?, clock.get(3..5)?);
    if clock.get(2..3)? != ":" || clock.get(5..6)? != ":" {
        return None;
    }
    let (hour, minute) = (two_or_more_digits(hour)?, two_or_more_digits(minute)?);
    let second_ns = nanoseconds(clock.get(6..)?, 1_000_000_000)?;
    if hour > 23 || minute > 59 || second_ns >= 61_000_000_000 {
        return None;
    }
    let minutes = days_since_1970(year, month, day) * 1440 + hour * 60 + minute;
    u64::try_from(minutes * 60 - offset_s)
        .ok()?
        .checked_mul(1_000_000_000)?
        .checked_add(second_ns)
}

fn two_or_more_digits(text: &str) -> Option<i64> {
    (text.len() >= 2 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Reads `Z`, `+01:00` or `-0530`, in seconds east of UTC.
fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let (hours, minutes) = (digits.get(..2)?, digits.get(2..).unwrap_or(""));
    let minutes = if minutes.is_empty() {
        0
    } else {
        two_or_more_digits(minutes)?
    };
    Some(sign * (two_or_more_digits(hours)? * 3600 + minutes * 60))
}

/// Days of a Gregorian date since 1970-01-01 (H. Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(
            nanoseconds("51.2224670", 1_000_000_000),
            Some(51_222_467_000)
        );
        assert_eq!(nanoseconds("0.0000000004", 1_000_000_000), Some(0));
        assert_eq!(nanoseconds("1.5e-05", 1_000_000_000), Some(15_000));
        assert_eq!(
            nanoseconds("1787267980.0827403", 1_000_000_000),
            Some(1787267980082740300)
        );
        for bad in [
            "",
            "-1",
            "1.2.3",
            "abc",
            "inf",
            "NaN",
            "1e300",
            "99999999999999999999",
        ] {
            assert_eq!(nanoseconds(bad, 1_000_000_000), None, "{bad}");
        }
    }

    #[test]
    fn timestamps_of_both_years_are_read() {
        let base = timestamp_ns("2023-11-16 18:17:03.9799600").unwrap();
        assert_eq!(base, 1_700_158_623_979_960_000);
        let with_offset = timestamp_ns("2024-05-10 00:00:00.009930+00:00").unwrap();
        assert_eq!(with_offset, 1_715_299_200_009_930_000);
        assert_eq!(
            timestamp_ns("2024-05-10 02:00:00.009930+02:00"),
            Some(with_offset)
        );
        assert_eq!(
            timestamp_ns("2024-05-10T00:00:00.009930Z"),
            Some(with_offset)
        );
        assert_eq!(
            timestamp_ns("2024-05-10 00:00:00"),
            Some(with_offset - 9_930_000)
        );
        for bad in [
            "",
            "2024-05-10",
            "2024-13-10 00:00:00",
            "2024-05-10 24:00:00",
            "soonsoonsoon",
            "2024-05-10 00:00",
            "2024-05-1é 00:00:00",
        ] {
            assert_eq!(timestamp_ns(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(text in ".{0,40}") {
            let _ = timestamp_ns(&text);
            let _ = nanoseconds(&text, 1_000_000);
            let _ = tokens(&text);
        }

        #[test]
        fn every_time_survives_printing(ns in 0_u64..1 << 62) {
            let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
            prop_assert_eq!(nanoseconds(&text, 1_000_000_000), Some(ns));
        }
    }
}
