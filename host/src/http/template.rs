//! A conversation to a prompt: the model's own template, a Jinja one.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::ser::Formatter;

use super::messages::Message;
use crate::engine::ServedModel;

/// What stands in where a model came without: `ChatML`, which most open models were trained on.
const CHAT_ML: &str = "\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
";
const NAME: &str = "chat template";

/// A template that is compiled once, or the reason why it cannot be.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Result<Environment<'static>, String>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// The model's, or the default one.
    pub(super) fn new(model: &ServedModel) -> Self {
        let source = model.chat_template.as_deref().unwrap_or(CHAT_ML);
        Self {
            environment: environment(source).map_err(|error| told(&error)),
            bos_token: model.bos_token.clone(),
            eos_token: model.eos_token.clone(),
        }
    }

    /// Why it cannot be used, if so.
    pub(super) fn error(&self) -> Option<&str> {
        self.environment.as_ref().err().map(String::as_str)
    }

    /// The prompt. `more` are further variables of the template.
    pub(super) fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        more: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Result<String, String> {
        let environment = self.environment.as_ref().map_err(Clone::clone)?;
        let template = environment.get_template(NAME).map_err(|e| told(&e))?;
        let ours = context! {
            messages => Serde(messages),
            add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        // The first one that has a variable has the word.
        let all = match more {
            Some(more) => context! { ..ours, ..Serde(more) },
            None => ours,
        };
        template.render(all).map_err(|e| told(&e))
    }
}

/// What Hugging Face's tokenizers give to templates, so that theirs run here.
fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    environment.add_template_owned(NAME, without_marks(source))?;
    Ok(environment)
}

/// `{% generation %}` marks what training learns from. It is an extension of Hugging Face and
/// prints nothing, so a block that always runs is the same.
fn without_marks(source: &str) -> String {
    let mut source = source.to_owned();
    for open in ["{%", "{%-", "{%+"] {
        for (mark, block) in [("generation", "if true"), ("endgeneration", "endif")] {
            source = source.replace(&format!("{open} {mark} "), &format!("{open} {block} "));
        }
    }
    source
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let now = jiff::Zoned::now();
    let text = jiff::fmt::strtime::format(format, &now);
    text.map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
}

/// As Python's `json.dumps` writes it, which is what models were trained on: a space behind commas
/// and colons, nothing escaped for HTML.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the arguments of a filter are values"
)]
fn tojson(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Accepted for the sake of templates that say so; it is what happens anyway.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut out, Spaced);
            value.serialize(&mut writer)
        }
        Some(spaces) => {
            let indent = vec![b' '; spaces];
            let pretty = serde_json::ser::PrettyFormatter::with_indent(&indent);
            let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
            value.serialize(&mut writer)
        }
    };
    let failed = |e: String| Error::new(ErrorKind::BadSerialization, e);
    written.map_err(|e| failed(e.to_string()))?;
    String::from_utf8(out).map_err(|e| failed(e.to_string()))
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// An error with its line. What a template says by `raise_exception` stands in it.
fn told(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    match (detail, error.line()) {
        ("", None) => error.to_string(),
        ("", Some(line)) => format!("{}, line {line}", error.kind()),
        (detail, None) => detail.to_owned(),
        (detail, Some(line)) => format!("{detail}, line {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> Message {
        Message {
            role: role.to_owned(),
            content: content.to_owned(),
            name: None,
        }
    }

    fn template(source: Option<&str>) -> ChatTemplate {
        let source = source.unwrap_or(CHAT_ML);
        ChatTemplate {
            environment: environment(source).map_err(|e| told(&e)),
            bos_token: "<s>".to_owned(),
            eos_token: "</s>".to_owned(),
        }
    }

    fn render(source: &str, messages: &[Message]) -> Result<String, String> {
        template(Some(source)).render(messages, true, None)
    }

    #[test]
    fn the_default_is_chat_ml() {
        let messages = [message("system", "Be brief."), message("user", "Hi <b>\n")];
        let prompt = template(None).render(&messages, true, None).unwrap();
        let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <b>\n\
            <|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(prompt, expected);
        let closed = template(None).render(&messages[..1], false, None).unwrap();
        assert_eq!(closed, "<|im_start|>system\nBe brief.<|im_end|>\n");
    }

    #[test]
    fn a_template_in_the_manner_of_llama_2_runs() {
        let source = "{% if messages[0]['role'] == 'system' %}\
            {% set system = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' %}\
            {% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}\
            {% endif %}{% for m in rest %}\
            {% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
            {{ raise_exception('roles must alternate') }}{% endif %}\
            {% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') \
            + m['content'].strip() + ' [/INST]' }}{% else %}\
            {{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}";
        let talk = [
            message("system", " Be brief. "),
            message("user", "Hi"),
            message("assistant", "Hello "),
            message("user", "Bye"),
        ];
        let prompt = render(source, &talk).unwrap();
        let expected = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] \
            Bye [/INST]";
        assert_eq!(prompt, expected);
        let error = render(source, &[message("assistant", "Hi")]).unwrap_err();
        assert!(error.starts_with("roles must alternate"), "{error}");
    }

    #[test]
    fn what_hugging_face_gives_to_templates_is_there() {
        let source = "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}\
            {%- if m.role == 'system' -%}{% continue %}{%- endif -%}{%- set ns.n = ns.n + 1 -%}\
            {%- generation -%}{{ m.content.split(' ')[-1].upper() }}{%- endgeneration -%}\
            {%- endfor -%}{{ ns.n }} {{ {'b': [1, 'é<'], 'a': none} | tojson }}\
            {{ strftime_now('%Y') | length }}{{ 'x' if tools is none else 'y' }}\
            {{ 'x' if 'a'.startswith('a') and enable_thinking is not defined }}";
        let talk = [message("system", "a"), message("user", "one two")];
        let prompt = render(source, &talk).unwrap();
        let json = prompt
            .strip_prefix("TWO1 ")
            .unwrap()
            .strip_suffix("4xx")
            .unwrap();
        assert!(json.contains("\"b\": [1, \"é<\"]"), "{json}");
        assert!(json.contains("\"a\": null"), "{json}");
        let more = serde_json::json!({"name": "Ada", "bos_token": "no"});
        let hello = template(Some("{{ bos_token }}{{ name }}"));
        let prompt = hello.render(&talk, true, more.as_object()).unwrap();
        assert_eq!(prompt, "<s>Ada");
    }

    #[test]
    fn a_broken_template_says_why_and_where() {
        let broken = template(Some("one\n{% if %}"));
        assert!(broken.error().is_some());
        let error = broken.render(&[], true, None).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        let error = render("{{ messages[0].content.fly() }}", &[message("user", "a")]);
        assert!(error.unwrap_err().contains("fly"));
        assert!(render("{{ strftime_now('%!') }}", &[]).is_err());
    }
}
