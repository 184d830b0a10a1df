//! The part of TOML that a policy's configuration needs: `key = value` lines with numbers, booleans
//! and plain strings, and comments. A full parser would be larger than the policy.

/// A configuration that has been read; every key in it is one that the policy knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Config<'a> {
    entries: Vec<(&'a str, &'a str)>,
}

/// Reads a configuration of a policy that knows those `keys`.
///
/// # Errors
///
/// The line that is not `key = value`, or the key that is unknown or given twice.
pub fn parse<'a>(toml: &'a str, keys: &[&str]) -> Result<Config<'a>, String> {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    for (number, line) in toml.lines().enumerate() {
        let line = strip_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .ok_or_else(|| format!("line {}: write `key = value`, not `{line}`", number + 1))?;
        if !keys.contains(&key) {
            return Err(unknown(key, keys));
        }
        if entries.iter().any(|(known, _)| *known == key) {
            return Err(format!("`{key}` is given twice; keep one"));
        }
        entries.push((key, value));
    }
    Ok(Config { entries })
}

fn unknown(key: &str, keys: &[&str]) -> String {
    if keys.is_empty() {
        format!("unknown key `{key}`: this policy has no options")
    } else {
        format!("unknown key `{key}`: the options are {}", keys.join(", "))
    }
}

/// What stands before a `#` that is not inside a string.
fn strip_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

impl<'a> Config<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        self.entries
            .iter()
            .find_map(|&(known, value)| (known == key).then_some(value))
    }

    /// `true` or `false`, or the default where the key is not given.
    ///
    /// # Errors
    ///
    /// The value is something else.
    pub fn bool(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.value(key) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(format!("`{key}` must be true or false, not {other}")),
        }
    }

    /// A finite number, or the default where the key is not given.
    ///
    /// # Errors
    ///
    /// The value is not a finite number.
    pub fn f32(&self, key: &str, default: f32) -> Result<f32, String> {
        let Some(value) = self.value(key) else {
            return Ok(default);
        };
        match value.replace('_', "").parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("`{key}` must be a finite number, not {value}")),
        }
    }

    /// A whole number from 0, or the default where the key is not given.
    ///
    /// # Errors
    ///
    /// The value is not a whole number from 0 to 2^64 - 1.
    pub fn u64(&self, key: &str, default: u64) -> Result<u64, String> {
        let Some(value) = self.value(key) else {
            return Ok(default);
        };
        value
            .replace('_', "")
            .parse()
            .map_err(|_| format!("`{key}` must be a whole number from 0, not {value}"))
    }

    /// A string in double quotes without escapes, or the default where the key is not given.
    ///
    /// # Errors
    ///
    /// The value is not a string in double quotes, or holds a quote or a backslash.
    pub fn str(&self, key: &str, default: &'a str) -> Result<&'a str, String> {
        let Some(value) = self.value(key) else {
            return Ok(default);
        };
        value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|text| !text.contains(['"', '\\']))
            .ok_or_else(|| format!("`{key}` must be a string in double quotes, not {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_comments_and_defaults() {
        let text = "# all\n a = 1_000 # one\nb = true\n\nc = \"x # y\"\nd=-2.5\n";
        let config = parse(text, &["a", "b", "c", "d", "e"]).unwrap();
        assert_eq!(config.u64("a", 0), Ok(1000));
        assert_eq!(config.bool("b", false), Ok(true));
        assert_eq!(config.str("c", ""), Ok("x # y"));
        assert_eq!(config.f32("d", 0.0), Ok(-2.5));
        assert_eq!(config.f32("e", 7.0), Ok(7.0));
    }

    #[test]
    fn errors_name_the_key() {
        let error = |text| parse(text, &["a", "b"]).unwrap_err();
        assert_eq!(error("c = 1"), "unknown key `c`: the options are a, b");
        assert_eq!(error("a = 1\na = 2"), "`a` is given twice; keep one");
        assert_eq!(error("\na"), "line 2: write `key = value`, not `a`");
        let config = parse("a = nan\nb = 1", &["a", "b"]).unwrap();
        assert!(config.f32("a", 0.0).unwrap_err().contains("`a`"));
        assert!(config.bool("b", true).unwrap_err().contains("`b`"));
        assert!(config.str("b", "").unwrap_err().contains("`b`"));
        assert!(config.u64("a", 0).unwrap_err().contains("`a`"));
        assert!(parse("x = 1", &[]).unwrap_err().contains("no options"));
    }
}
