//! A delivery that came again for no reason, and what the nodes have logged of it: by that its reason is found.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// What a node said of Redis so long before or after is of interest.
const NEAR: SignedDuration = SignedDuration::from_secs(3);

/// A repeat that nothing explains.
pub struct Riddle {
    /// The key of the delivery, as it is logged.
    key: String,
    /// When the first one came, and when it came again, as times are logged.
    between: [Timestamp; 2],
    /// What happened around both.
    text: String,
    /// Those that have taken the excuses that it could have had.
    rivals: Vec<Riddle>,
}

impl std::fmt::Debug for Riddle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Riddle { key, between: [first, again], text, .. } = self;
        write!(formatter, "{key} at {first} and {again}: {text}")
    }
}

impl Riddle {
    pub fn new(key: String, between: [Instant; 2], text: String) -> Self {
        Self { key, between: between.map(|at| Timestamp::now() - at.elapsed()), text, rivals: vec![] }
    }

    pub fn among(self, rivals: impl Iterator<Item = Riddle>) -> Self {
        Self { rivals: rivals.collect(), ..self }
    }

    /// Prints it, with those lines of what each node has logged that are about the delivery, or about Redis while it came.
    pub fn tell(&self, said: &[String]) {
        println!("{self:?}");
        for (node, said) in said.iter().enumerate() {
            said.lines().filter(|line| self.concerns(line)).for_each(|line| println!("  {node}: {line}"));
        }
        for rival in &self.rivals {
            println!("  excused in its place: {rival:?}");
            let said = said.iter().flat_map(|said| said.lines());
            said.filter(|line| line.contains(&rival.key)).for_each(|line| println!("    {line}"));
        }
    }

    fn concerns(&self, line: &str) -> bool {
        let at = line.split_whitespace().next().and_then(|at| at.parse::<Timestamp>().ok());
        let is_near = |at: Timestamp| self.between.iter().any(|it| it.duration_since(at).abs() < NEAR);
        line.contains(&self.key) || line.contains("Redis") && at.is_some_and(is_near)
    }
}
