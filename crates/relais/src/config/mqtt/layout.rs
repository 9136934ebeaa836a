//! The mapping between topics and modules.

use crate::config::MqttTopics;

/// The placeholder for a module's id.
const PLACE: &str = "{module}";
/// Maximum length of a configured topic, in bytes.
const TOPIC_BYTES_MAX: usize = 256;

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Values and heartbeats.
    Report,
    /// Whether the device is online.
    Status,
    /// Responses to commands.
    Response,
}

/// The configured topics.
#[derive(Clone, Debug)]
pub struct Layout {
    heard: Vec<(Purpose, Template)>,
    command: Option<Template>,
}

/// A topic with a module's id in one of its levels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Level>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Plain(String),
    /// The id, between this prefix and suffix.
    Module(String, String),
}

/// Why the topics are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct LayoutError {
    name: &'static str,
    what: String,
}

impl Layout {
    /// Parses the topics of these settings.
    ///
    /// # Errors
    /// [`LayoutError`] names the topic that is invalid, or that overlaps another.
    pub fn of(topics: &MqttTopics) -> Result<Self, LayoutError> {
        let named = [
            ("report", &topics.report, Some(Purpose::Report)),
            ("heartbeat", &topics.heartbeat, Some(Purpose::Report)),
            ("status", &topics.status, Some(Purpose::Status)),
            ("response", &topics.response, Some(Purpose::Response)),
            ("command", &topics.command, None),
        ];
        let mut layout = Self { heard: Vec::new(), command: None };
        let mut seen: Vec<(&str, Template)> = Vec::new();
        for (name, text, purpose) in named {
            if text.is_empty() {
                continue;
            }
            let template = Template::parse(text).map_err(|what| LayoutError { name, what })?;
            if let Some((other, _)) = seen.iter().find(|(_, other)| other.overlaps(&template)) {
                let what = format!("{text:?} could be a topic of {other}, too: give it another name");
                return Err(LayoutError { name, what });
            }
            seen.push((name, template.clone()));
            match purpose {
                Some(purpose) => layout.heard.push((purpose, template)),
                None => layout.command = Some(template),
            }
        }
        if layout.heard.is_empty() {
            let what =
                "without a topic to hear there is nothing to do: set it, or leave live.mqtt.url empty".into();
            return Err(LayoutError { name: "report", what });
        }
        Ok(layout)
    }

    /// The topic filters to subscribe to.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.heard.iter().map(|(_, template)| template.filter()).collect()
    }

    /// The purpose of a topic, and the module it belongs to.
    pub(crate) fn find<'a>(&self, topic: &'a str) -> Option<(Purpose, &'a str)> {
        self.heard.iter().find_map(|(purpose, template)| Some((*purpose, template.find(topic)?)))
    }

    /// The topic on which a module receives commands.
    pub(crate) fn command(&self, module: &str) -> Option<String> {
        let is_level = !module.contains(['/', '+', '#', '\0']);
        self.command.as_ref().filter(|_| is_level).map(|template| template.write(module))
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TOPIC_BYTES_MAX || text.starts_with('$') || text.contains(['+', '#', '\0']) {
            return Err(format!(
                "{text:?} is no topic: at most {TOPIC_BYTES_MAX} bytes, no +, no # and no $ in front"
            ));
        }
        if text.matches(PLACE).count() != 1 {
            return Err(format!("{text:?} has to say once where the id stands: {PLACE}"));
        }
        let level = |level: &str| match level.split_once(PLACE) {
            Some((before, after)) => Level::Module(before.to_owned(), after.to_owned()),
            None => Level::Plain(level.to_owned()),
        };
        Ok(Self(text.split('/').map(level).collect()))
    }

    fn filter(&self) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Plain(text) => text.as_str(),
            Level::Module(..) => "+",
        });
        levels.collect::<Vec<_>>().join("/")
    }

    fn find<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let mut module = None;
        let mut said = topic.split('/');
        for level in &self.0 {
            let said = said.next()?;
            match level {
                Level::Plain(text) if text == said => {}
                Level::Plain(_) => return None,
                Level::Module(before, after) => {
                    module = said.strip_prefix(before.as_str())?.strip_suffix(after.as_str());
                }
            }
        }
        if said.next().is_some() {
            return None;
        }
        module.filter(|module| !module.is_empty())
    }

    fn write(&self, module: &str) -> String {
        let levels = self.0.iter().map(|level| match level {
            Level::Plain(text) => text.clone(),
            Level::Module(before, after) => format!("{before}{module}{after}"),
        });
        levels.collect::<Vec<_>>().join("/")
    }

    /// Whether a topic could match both.
    fn overlaps(&self, other: &Self) -> bool {
        let could_be = |(one, other): (&Level, &Level)| match (one, other) {
            (Level::Plain(one), Level::Plain(other)) => one == other,
            _ => true,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(could_be)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(report: &str, status: &str) -> MqttTopics {
        let (report, status) = (report.to_owned(), status.to_owned());
        MqttTopics { report, status, ..MqttTopics::default() }
    }

    #[test]
    fn the_usual_topics_name_the_module_in_the_middle() {
        let layout = Layout::of(&MqttTopics::default()).unwrap();
        assert_eq!(layout.filters()[..2], ["relais/+/telemetry", "relais/+/heartbeat"]);
        assert_eq!(layout.find("relais/MC-1/telemetry"), Some((Purpose::Report, "MC-1")));
        assert_eq!(layout.find("relais/MC-1/status"), Some((Purpose::Status, "MC-1")));
        assert_eq!(layout.command("MC-1").unwrap(), "relais/MC-1/command");
        for other in
            ["relais//status", "relais/MC-1/command", "relais/MC-1/status/x", "relais/MC-1", "status"]
        {
            assert_eq!(layout.find(other), None, "{other}");
        }
    }

    #[test]
    fn a_level_may_have_more_than_the_id() {
        let layout = Layout::of(&topics("plant/dev-{module}.v1/up", "plant/{module}/status")).unwrap();
        assert_eq!(layout.filters()[0], "plant/+/up");
        assert_eq!(layout.find("plant/dev-MC-1.v1/up"), Some((Purpose::Report, "MC-1")));
        assert_eq!(layout.find("plant/MC-1/up"), None);
    }

    #[test]
    fn topics_that_cannot_work_are_refused_by_name() {
        for (report, status, name) in [
            ("relais/telemetry", "relais/{module}/status", "report"),
            ("relais/{module}/{module}", "relais/{module}/status", "report"),
            ("relais/+/{module}", "relais/{module}/status", "report"),
            ("$share/g/{module}", "relais/{module}/status", "report"),
            ("a/{module}", "{module}/b", "status"),
            ("relais/{module}/command", "relais/{module}/status", "command"),
        ] {
            assert_eq!(Layout::of(&topics(report, status)).unwrap_err().name, name, "{report} {status}");
        }
        let none = MqttTopics { heartbeat: String::new(), response: String::new(), ..topics("", "") };
        assert_eq!(Layout::of(&none).unwrap_err().name, "report");
    }

    #[test]
    fn an_id_that_would_be_another_topic_is_told_nothing() {
        let layout = Layout::of(&MqttTopics::default()).unwrap();
        assert_eq!((layout.command("a/b"), layout.command("#")), (None, None));
    }
}
