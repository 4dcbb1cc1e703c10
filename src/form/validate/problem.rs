//! What is wrong with an answer, as data, and how a person is told.

use serde::Serialize;

/// Why an answer is refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// Nothing was answered.
    Required,
    /// A consent that must be given.
    ConsentRequired,
    /// Fewer characters than `min`.
    TooShort {
        /// At least this many.
        min: u32,
    },
    /// More characters than `max`.
    TooLong {
        /// At most this many.
        max: u32,
    },
    /// The text does not match the form's pattern; the form's own words, if it has any.
    Pattern {
        /// The form's words.
        message: Option<String>,
    },
    /// No e-mail address.
    Email,
    /// An e-mail address at a domain the form refuses.
    BlockedDomain {
        /// The domain.
        domain: String,
    },
    /// No phone number.
    Phone,
    /// A national number, and nothing says of which country.
    PhonePrefix,
    /// No web address.
    Url,
    /// No number.
    Number,
    /// No whole number.
    WholeNumber,
    /// Smaller than `min`.
    TooSmall {
        /// At least this.
        min: String,
    },
    /// Larger than `max`.
    TooLarge {
        /// At most this.
        max: String,
    },
    /// No date.
    Date,
    /// No time of day.
    Time,
    /// Earlier than `min`.
    TooEarly {
        /// Not before.
        min: String,
    },
    /// Later than `max`.
    TooLate {
        /// Not after.
        max: String,
    },
    /// Nothing that was offered.
    NotOffered,
    /// "Other" was chosen and nothing written.
    OtherMissing,
    /// Fewer options than `min`.
    TooFewChoices {
        /// At least this many.
        min: u32,
    },
    /// More options than `max`.
    TooManyChoices {
        /// At most this many.
        max: u32,
    },
    /// A row of a matrix is not answered.
    RowMissing,
    /// A ranking that is not complete or holds something twice.
    Ranking,
    /// No file, or not of the allowed kinds.
    File,
    /// More files than `max`.
    TooManyFiles {
        /// At most this many.
        max: u8,
    },
}

/// Languages of the messages, in the order of the columns below.
const LANGUAGES: [&str; 6] = ["en", "it", "es", "pt", "fr", "de"];

impl Problem {
    /// A few words for the field itself: at most 30 characters (WhatsApp Flows reference, 4.8, `error-message`).
    pub fn short(&self, locale: &str) -> String {
        let text = match self {
            Problem::Pattern { message: Some(message) } => message.clone(),
            _ => self.fill(pick(self.row().0, locale)),
        };
        if text.chars().count() <= 30 {
            return text;
        }
        let mut cut: String = text.chars().take(29).collect();
        cut.truncate(cut.trim_end().len());
        cut.push('…');
        cut
    }

    /// A sentence that says how to put it right.
    pub fn long(&self, locale: &str) -> String {
        match self {
            Problem::Pattern { message: Some(message) } => message.clone(),
            _ => self.fill(pick(self.row().1, locale)),
        }
    }

    fn fill(&self, template: &str) -> String {
        let value = match self {
            Problem::TooShort { min } | Problem::TooFewChoices { min } => min.to_string(),
            Problem::TooLong { max } | Problem::TooManyChoices { max } => max.to_string(),
            Problem::TooManyFiles { max } => max.to_string(),
            Problem::TooSmall { min } | Problem::TooEarly { min } => min.clone(),
            Problem::TooLarge { max } | Problem::TooLate { max } => max.clone(),
            Problem::BlockedDomain { domain } => domain.clone(),
            _ => return template.to_owned(),
        };
        template.replace("{}", &value)
    }

    /// Short and long texts, one column per language.
    #[rustfmt::skip]
    fn row(&self) -> ([&'static str; 6], [&'static str; 6]) {
        match self {
            Problem::Required => (
                ["Please answer", "Risposta necessaria", "Respuesta necesaria", "Resposta necessária", "Réponse nécessaire", "Bitte ausfüllen"],
                ["Please answer this question.", "Rispondi a questa domanda.", "Responde a esta pregunta.", "Responda a esta pergunta.", "Répondez à cette question.", "Bitte beantworten Sie diese Frage."]),
            Problem::ConsentRequired => (
                ["Please accept", "Serve il consenso", "Debes aceptar", "É preciso aceitar", "Merci d'accepter", "Bitte zustimmen"],
                ["Please accept to go on.", "Per continuare serve il tuo consenso.", "Para continuar debes aceptar.", "Para continuar é preciso aceitar.", "Pour continuer, merci d'accepter.", "Bitte stimmen Sie zu, um fortzufahren."]),
            Problem::TooShort { .. } => (
                ["At least {} characters", "Almeno {} caratteri", "Al menos {} caracteres", "Pelo menos {} caracteres", "Au moins {} caractères", "Mindestens {} Zeichen"],
                ["Please write at least {} characters.", "Scrivi almeno {} caratteri.", "Escribe al menos {} caracteres.", "Escreva pelo menos {} caracteres.", "Écrivez au moins {} caractères.", "Bitte schreiben Sie mindestens {} Zeichen."]),
            Problem::TooLong { .. } => (
                ["At most {} characters", "Al massimo {} caratteri", "Como máximo {} caracteres", "No máximo {} caracteres", "Au plus {} caractères", "Höchstens {} Zeichen"],
                ["Please write at most {} characters.", "Scrivi al massimo {} caratteri.", "Escribe como máximo {} caracteres.", "Escreva no máximo {} caracteres.", "Écrivez au plus {} caractères.", "Bitte schreiben Sie höchstens {} Zeichen."]),
            Problem::Pattern { .. } => (
                ["Not the expected form", "Formato non valido", "Formato no válido", "Formato inválido", "Format non valide", "Falsches Format"],
                ["This does not have the expected form. Please check it.", "Il formato non è quello previsto. Controlla.", "El formato no es el esperado. Compruébalo.", "O formato não é o esperado. Verifique.", "Le format n'est pas celui attendu. Vérifiez.", "Das hat nicht das erwartete Format. Bitte prüfen."]),
            Problem::Email => (
                ["E-mail not valid", "E-mail non valida", "Correo no válido", "E-mail inválido", "E-mail non valide", "E-Mail ungültig"],
                ["Please write an e-mail address such as name@example.com.", "Scrivi un indirizzo come nome@esempio.it.", "Escribe un correo como nombre@ejemplo.es.", "Escreva um e-mail como nome@exemplo.com.", "Écrivez une adresse comme nom@exemple.fr.", "Bitte eine E-Mail-Adresse wie name@beispiel.de angeben."]),
            Problem::BlockedDomain { .. } => (
                ["Use another e-mail", "Usa un'altra e-mail", "Usa otro correo", "Use outro e-mail", "Autre e-mail requis", "Andere E-Mail nötig"],
                ["Addresses at {} are not accepted here. Please use another one.", "Gli indirizzi {} non sono accettati. Usane un altro.", "No se aceptan direcciones de {}. Usa otra.", "Endereços de {} não são aceitos. Use outro.", "Les adresses {} ne sont pas acceptées. Utilisez-en une autre.", "Adressen bei {} werden nicht angenommen. Bitte eine andere verwenden."]),
            Problem::Phone => (
                ["Phone number not valid", "Telefono non valido", "Teléfono no válido", "Telefone inválido", "Téléphone non valide", "Telefonnummer ungültig"],
                ["Please write a phone number with its country prefix, such as +44 20 7946 0018.", "Scrivi il numero con il prefisso, per esempio +39 06 1234567.", "Escribe el número con el prefijo, por ejemplo +34 912 345 678.", "Escreva o número com o prefixo, por exemplo +55 11 91234 5678.", "Écrivez le numéro avec l'indicatif, par exemple +33 1 23 45 67 89.", "Bitte die Nummer mit Vorwahl angeben, zum Beispiel +49 30 123456."]),
            Problem::PhonePrefix => (
                ["Add the country prefix", "Aggiungi il prefisso +39", "Añade el prefijo +34", "Inclua o prefixo +55", "Ajoutez l'indicatif +33", "Ländervorwahl fehlt"],
                ["Please begin the number with + and the country code.", "Inizia il numero con + e il prefisso del paese.", "Empieza el número con + y el código del país.", "Comece o número com + e o código do país.", "Commencez le numéro par + et l'indicatif du pays.", "Bitte die Nummer mit + und der Ländervorwahl beginnen."]),
            Problem::Url => (
                ["Web address not valid", "Indirizzo web non valido", "Dirección web no válida", "Endereço web inválido", "Adresse web non valide", "Webadresse ungültig"],
                ["Please write a web address such as https://example.com.", "Scrivi un indirizzo come https://esempio.it.", "Escribe una dirección como https://ejemplo.es.", "Escreva um endereço como https://exemplo.com.", "Écrivez une adresse comme https://exemple.fr.", "Bitte eine Webadresse wie https://beispiel.de angeben."]),
            Problem::Number => (
                ["Not a number", "Non è un numero", "No es un número", "Não é um número", "Ce n'est pas un nombre", "Keine Zahl"],
                ["Please write a number.", "Scrivi un numero.", "Escribe un número.", "Escreva um número.", "Écrivez un nombre.", "Bitte eine Zahl angeben."]),
            Problem::WholeNumber => (
                ["Whole numbers only", "Solo numeri interi", "Solo números enteros", "Só números inteiros", "Nombre entier seulement", "Nur ganze Zahlen"],
                ["Please write a whole number.", "Scrivi un numero intero.", "Escribe un número entero.", "Escreva um número inteiro.", "Écrivez un nombre entier.", "Bitte eine ganze Zahl angeben."]),
            Problem::TooSmall { .. } => (
                ["At least {}", "Almeno {}", "Al menos {}", "Pelo menos {}", "Au moins {}", "Mindestens {}"],
                ["Please write a number of at least {}.", "Scrivi un numero da {} in su.", "Escribe un número de al menos {}.", "Escreva um número de pelo menos {}.", "Écrivez un nombre d'au moins {}.", "Bitte eine Zahl ab {} angeben."]),
            Problem::TooLarge { .. } => (
                ["At most {}", "Al massimo {}", "Como máximo {}", "No máximo {}", "Au plus {}", "Höchstens {}"],
                ["Please write a number of at most {}.", "Scrivi un numero fino a {}.", "Escribe un número de como máximo {}.", "Escreva um número de no máximo {}.", "Écrivez un nombre d'au plus {}.", "Bitte eine Zahl bis {} angeben."]),
            Problem::Date => (
                ["Date not valid", "Data non valida", "Fecha no válida", "Data inválida", "Date non valide", "Datum ungültig"],
                ["Please choose a date.", "Scegli una data.", "Elige una fecha.", "Escolha uma data.", "Choisissez une date.", "Bitte ein Datum wählen."]),
            Problem::Time => (
                ["Time not valid", "Ora non valida", "Hora no válida", "Hora inválida", "Heure non valide", "Uhrzeit ungültig"],
                ["Please write a time such as 09:30.", "Scrivi un'ora come 09:30.", "Escribe una hora como 09:30.", "Escreva uma hora como 09:30.", "Écrivez une heure comme 09:30.", "Bitte eine Uhrzeit wie 09:30 angeben."]),
            Problem::TooEarly { .. } => (
                ["Not before {}", "Non prima di {}", "No antes de {}", "Não antes de {}", "Pas avant {}", "Nicht vor {}"],
                ["Please choose {} or later.", "Scegli {} o dopo.", "Elige {} o después.", "Escolha {} ou depois.", "Choisissez {} ou après.", "Bitte {} oder später wählen."]),
            Problem::TooLate { .. } => (
                ["Not after {}", "Non dopo {}", "No después de {}", "Não depois de {}", "Pas après {}", "Nicht nach {}"],
                ["Please choose {} or earlier.", "Scegli {} o prima.", "Elige {} o antes.", "Escolha {} ou antes.", "Choisissez {} ou avant.", "Bitte {} oder früher wählen."]),
            Problem::NotOffered => (
                ["Choose from the list", "Scegli dall'elenco", "Elige de la lista", "Escolha da lista", "Choisissez dans la liste", "Bitte aus der Liste wählen"],
                ["Please choose one of the answers offered.", "Scegli una delle risposte proposte.", "Elige una de las respuestas ofrecidas.", "Escolha uma das respostas oferecidas.", "Choisissez une des réponses proposées.", "Bitte eine der angebotenen Antworten wählen."]),
            Problem::OtherMissing => (
                ["Please specify", "Specifica", "Especifica", "Especifique", "Précisez", "Bitte angeben"],
                ["Please write your own answer.", "Scrivi la tua risposta.", "Escribe tu respuesta.", "Escreva sua resposta.", "Écrivez votre réponse.", "Bitte schreiben Sie Ihre Antwort."]),
            Problem::TooFewChoices { .. } => (
                ["Choose at least {}", "Scegline almeno {}", "Elige al menos {}", "Escolha pelo menos {}", "Choisissez-en au moins {}", "Mindestens {} wählen"],
                ["Please choose at least {}.", "Scegline almeno {}.", "Elige al menos {}.", "Escolha pelo menos {}.", "Choisissez-en au moins {}.", "Bitte wählen Sie mindestens {}."]),
            Problem::TooManyChoices { .. } => (
                ["Choose at most {}", "Scegline al massimo {}", "Elige como máximo {}", "Escolha no máximo {}", "Choisissez-en au plus {}", "Höchstens {} wählen"],
                ["Please choose at most {}.", "Scegline al massimo {}.", "Elige como máximo {}.", "Escolha no máximo {}.", "Choisissez-en au plus {}.", "Bitte wählen Sie höchstens {}."]),
            Problem::RowMissing => (
                ["Please answer this row", "Rispondi a questa riga", "Responde a esta fila", "Responda a esta linha", "Répondez à cette ligne", "Bitte diese Zeile ausfüllen"],
                ["Please answer every row.", "Rispondi a ogni riga.", "Responde a cada fila.", "Responda a cada linha.", "Répondez à chaque ligne.", "Bitte jede Zeile beantworten."]),
            Problem::Ranking => (
                ["Choose something else", "Scegline un altro", "Elige otro", "Escolha outro", "Choisissez-en un autre", "Bitte anders wählen"],
                ["Please give each place to something else.", "Dai ogni posto a una voce diversa.", "Da cada puesto a algo distinto.", "Dê cada lugar a algo diferente.", "Donnez chaque place à un élément différent.", "Bitte jeden Platz anders vergeben."]),
            Problem::File => (
                ["File not accepted", "File non accettato", "Archivo no aceptado", "Arquivo não aceito", "Fichier non accepté", "Datei nicht angenommen"],
                ["This file cannot be accepted. Please add another one.", "Questo file non va bene. Aggiungine un altro.", "Este archivo no se acepta. Añade otro.", "Este arquivo não é aceito. Adicione outro.", "Ce fichier n'est pas accepté. Ajoutez-en un autre.", "Diese Datei wird nicht angenommen. Bitte eine andere hinzufügen."]),
            Problem::TooManyFiles { .. } => (
                ["At most {} files", "Al massimo {} file", "Como máximo {} archivos", "No máximo {} arquivos", "Au plus {} fichiers", "Höchstens {} Dateien"],
                ["Please add at most {} files.", "Aggiungi al massimo {} file.", "Añade como máximo {} archivos.", "Adicione no máximo {} arquivos.", "Ajoutez au plus {} fichiers.", "Bitte höchstens {} Dateien hinzufügen."]),
        }
    }
}

fn pick(row: [&'static str; 6], locale: &str) -> &'static str {
    let base = locale.split(['-', '_']).next().unwrap_or_default();
    let column = LANGUAGES.iter().position(|tag| tag.eq_ignore_ascii_case(base)).unwrap_or(0);
    row[column]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_text_fits_a_field_and_every_text_is_filled() {
        let all = [
            Problem::Required,
            Problem::ConsentRequired,
            Problem::TooShort { min: 4096 },
            Problem::TooLong { max: 4096 },
            Problem::Pattern { message: None },
            Problem::Email,
            Problem::BlockedDomain { domain: "example.com".to_owned() },
            Problem::Phone,
            Problem::PhonePrefix,
            Problem::Url,
            Problem::Number,
            Problem::WholeNumber,
            Problem::TooSmall { min: "1000000".to_owned() },
            Problem::TooLarge { max: "1000000".to_owned() },
            Problem::Date,
            Problem::Time,
            Problem::TooEarly { min: "2026-01-01".to_owned() },
            Problem::TooLate { max: "2026-01-01".to_owned() },
            Problem::NotOffered,
            Problem::OtherMissing,
            Problem::TooFewChoices { min: 200 },
            Problem::TooManyChoices { max: 200 },
            Problem::RowMissing,
            Problem::Ranking,
            Problem::File,
            Problem::TooManyFiles { max: 30 },
        ];
        for problem in &all {
            for locale in LANGUAGES {
                let (short, long) = (problem.short(locale), problem.long(locale));
                assert!(!short.contains('…') && short.chars().count() <= 30, "{locale}: {short}");
                assert!(
                    !short.contains("{}") && !long.contains("{}") && !long.is_empty(),
                    "{locale}: {long}"
                );
            }
        }
    }

    #[test]
    fn the_forms_own_words_take_the_place_of_ours() {
        let problem =
            Problem::Pattern { message: Some("Two letters and then three digits please".to_owned()) };
        assert_eq!(problem.short("it").chars().count(), 30);
        assert_eq!(problem.long("it"), "Two letters and then three digits please");
    }

    #[test]
    fn a_region_reads_its_language() {
        assert_eq!(Problem::Required.short("pt_BR"), "Resposta necessária");
        assert_eq!(Problem::Required.short("xx"), "Please answer");
    }
}
