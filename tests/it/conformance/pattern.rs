//! Patterns: JSON that other JSON is compared with, and what is captured by that.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Values by name.
#[derive(Debug, Default, Clone)]
pub(super) struct Captures(BTreeMap<String, Value>);

impl Captures {
    /// Compares `value` with `pattern`, and keeps what was captured if they agree.
    pub(super) fn take(&mut self, pattern: &Value, value: &Value) -> Result<(), String> {
        let mut captures = self.clone();
        captures.compare(pattern, value, "").map_err(|fault| format!("{fault}; it came {value}"))?;
        *self = captures;
        Ok(())
    }

    /// `template` with captured values in place of the texts `"$name"`.
    pub(super) fn fill(&self, template: &Value) -> Result<Value, String> {
        Ok(match template {
            Value::String(text) => match text.strip_prefix('$') {
                Some(literal) if literal.starts_with('$') => literal.into(),
                Some(name) => self.get(name)?.clone(),
                None => template.clone(),
            },
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect::<Result<_, _>>()?,
            Value::Object(members) => {
                let filled = members.iter().map(|(name, value)| Ok((name.clone(), self.fill(value)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            _ => template.clone(),
        })
    }

    /// `template` with captured texts and numbers in place of each `${name}`.
    pub(super) fn fill_text(&self, template: &str) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or("`${` without `}`")?;
            let value = self.get(name)?;
            text += before;
            text += &value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            rest = after;
        }
        Ok(text + rest)
    }

    fn get(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| format!("`{name}` has not been captured"))
    }

    fn compare(&mut self, pattern: &Value, value: &Value, at: &str) -> Result<(), String> {
        let differs = || format!("at `{at}`: {value} is not {pattern}");
        match pattern {
            Value::String(text) if text.starts_with("$$") => {
                (value.as_str() == Some(&text[1..])).then_some(()).ok_or_else(differs)
            }
            Value::String(text) if text.starts_with('$') => {
                let known = self.0.entry(text[1..].to_owned()).or_insert_with(|| value.clone());
                let expected = known.clone();
                (*value == expected)
                    .then_some(())
                    .ok_or_else(|| format!("{} (which is {expected})", differs()))
            }
            Value::Object(members) => match operator(members) {
                Some((name, operand)) => self.operate(name, operand, value, at),
                None => self.compare_objects(members, value, at),
            },
            Value::Array(items) => {
                let values = value.as_array().filter(|values| values.len() == items.len());
                let mut pairs = items.iter().zip(values.ok_or_else(differs)?).enumerate();
                pairs.try_for_each(|(index, (item, value))| {
                    self.compare(item, value, &format!("{at}/{index}"))
                })
            }
            _ => (pattern == value).then_some(()).ok_or_else(differs),
        }
    }

    fn compare_objects(
        &mut self,
        members: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let values = value.as_object().ok_or_else(|| format!("at `{at}`: {value} is no object"))?;
        for (name, pattern) in members.iter().filter(|(name, _)| *name != "$more") {
            let at = format!("{at}/{name}");
            let absent = pattern.as_object().and_then(|members| members.get("$absent")).is_some();
            match values.get(name) {
                Some(value) if absent => return Err(format!("`{at}` should be absent and is {value}")),
                None if !absent => return Err(format!("`{at}` is absent")),
                Some(value) => self.compare(pattern, value, &at)?,
                None => {}
            }
        }
        let unexpected = values.keys().find(|name| !members.contains_key(*name));
        match unexpected.filter(|_| !members.contains_key("$more")) {
            Some(name) => Err(format!("at `{at}`: there is a `{name}` too")),
            None => Ok(()),
        }
    }

    fn operate(&mut self, name: &str, operand: &Value, value: &Value, at: &str) -> Result<(), String> {
        let check = |holds: bool| {
            holds.then_some(()).ok_or_else(|| format!("at `{at}`: {value} is not {{\"{name}\":{operand}}}"))
        };
        match (name, operand) {
            ("$any", Value::Bool(true)) => Ok(()),
            ("$any", Value::String(kind)) => check(is_a(kind, value)?),
            // What is compared with `$not` captures nothing: a name in it must be known.
            ("$not", pattern) => {
                let pattern = self.fill(pattern)?;
                check(self.clone().compare(&pattern, value, at).is_err())
            }
            ("$all", Value::Array(patterns)) => {
                patterns.iter().try_for_each(|pattern| self.compare(pattern, value, at))
            }
            ("$set", Value::Array(patterns)) => {
                let values = value.as_array().ok_or_else(|| format!("at `{at}`: {value} is no array"))?;
                let all: Vec<&Value> = values.iter().collect();
                let found = self.assign(patterns, &all);
                check(found)
            }
            ("$greater", Value::Array(pair)) => {
                let [a, b] = &pair[..] else { return Err("`$greater` takes two".to_owned()) };
                let (a, b) = (self.fill(a)?, self.fill(b)?);
                let units = |value: &Value| -> Vec<u16> {
                    value.as_str().map(|text| text.encode_utf16().collect()).unwrap_or_default()
                };
                check(value.as_bool() == Some(units(&a) > units(&b)))
            }
            ("$starts", Value::String(start)) => {
                check(value.as_str().is_some_and(|text| text.starts_with(start.as_str())))
            }
            _ => Err(format!("there is no operator `{name}` with {operand}")),
        }
    }

    /// Finds for each pattern a value of its own.
    fn assign(&mut self, patterns: &[Value], values: &[&Value]) -> bool {
        let Some((first, others)) = patterns.split_first() else { return values.is_empty() };
        (0..values.len()).any(|index| {
            let mut tried = self.clone();
            let mut rest = values.to_vec();
            let value = rest.remove(index);
            let fits = tried.compare(first, value, "").is_ok() && tried.assign(others, &rest);
            if fits {
                *self = tried;
            }
            fits
        })
    }
}

/// An object of one member that begins with `$` is an operator.
fn operator(members: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut names = members.iter();
    match (names.next(), names.next()) {
        (Some((name, operand)), None) if name.starts_with('$') && name != "$more" => Some((name, operand)),
        _ => None,
    }
}

fn is_a(kind: &str, value: &Value) -> Result<bool, String> {
    Ok(match kind {
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "string" => value.as_str().is_some_and(|text| !text.is_empty()),
        "uuid" => value.as_str().is_some_and(is_uuid),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => return Err(format!("`$any` knows no `{other}`")),
    })
}

/// Version 4, as `crypto.randomUUID()` makes them.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| hex(group))
        && groups[2].starts_with('4')
}

#[test]
fn patterns_tell_what_fits_from_what_does_not() {
    let fits = |pattern: &str, value: &str| {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        Captures::default().take(&json(pattern), &json(value)).is_ok()
    };
    for (pattern, yes, no) in [
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{"a":1,"b":2,"c":3}"#),
        (r#"{"a":1,"$more":true}"#, r#"{"a":1,"c":3}"#, r#"{"c":3}"#),
        (r#"{"a":{"$absent":true}}"#, "{}", r#"{"a":null}"#),
        (r#"["$x","$x"]"#, "[1,1]", "[1,2]"),
        (r#"["$x",{"$not":"$x"}]"#, "[1,2]", "[1,1]"),
        (r#"{"$set":["$x",{"$any":"number"}]}"#, r#"[2,"a"]"#, r#"["a","b"]"#),
        (r#"{"$set":[1]}"#, "[1]", "[1,2]"),
        (r#"["$a","$b",{"$greater":["$a","$b"]}]"#, r#"["a","B",true]"#, r#"["B","a",true]"#),
        (r#""$$5""#, r#""$5""#, r#""5""#),
        (r#"{"$any":"string"}"#, r#""x""#, "null"),
        (r#"{"$any":"uuid"}"#, r#""0b0e7c4c-5f0c-4d7e-9a70-0d5a1fbb2b3c""#, r#""0b0e7c4c""#),
        (r#"{"$all":[{"$any":"number"},{"$not":3}]}"#, "4", "3"),
        (r#"{"$starts":"!"}"#, r#""!a""#, r#""a""#),
        (r#"{"$unknown":"x"}"#, "1", "1"),
    ] {
        assert!(pattern.contains("$unknown") || fits(pattern, yes), "{pattern} {yes}");
        assert!(!fits(pattern, no), "{pattern} {no}");
    }
}
