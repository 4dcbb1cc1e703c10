//! The words a person reads that come from no form: buttons, hints, the end. One column per language.

/// Words of one language. Lengths obey the properties they fill (WhatsApp Flows reference, 4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// BCP 47 tag of the language.
    pub tag: &'static str,
    /// Footer that leads on.
    pub next: &'static str,
    /// Footer that sends the form.
    pub submit: &'static str,
    /// Footer of the last screen, when all is sent.
    pub close: &'static str,
    /// Footer of a first screen without questions.
    pub start: &'static str,
    /// Label of a field whose question stands above it.
    pub your_answer: &'static str,
    /// Label of a choice whose question stands above it.
    pub choose: &'static str,
    /// The option that opens a free text.
    pub other: &'static str,
    /// Label of that free text.
    pub specify: &'static str,
    /// Of a yes/no question.
    pub yes: &'static str,
    /// Of a yes/no question.
    pub no: &'static str,
    /// Label of a consent whose text stands above it.
    pub agree: &'static str,
    /// Link to the whole text of a consent.
    pub read_more: &'static str,
    /// Label of a date field.
    pub date: &'static str,
    /// Label of a time field.
    pub time: &'static str,
    /// How a time is written.
    pub time_hint: &'static str,
    /// Label of the search field of a long list.
    pub search: &'static str,
    /// How to search.
    pub search_hint: &'static str,
    /// Nothing was found.
    pub nothing_found: &'static str,
    /// Label of a file picker.
    pub file: &'static str,
    /// Stands before the n-th place of a ranking.
    pub place: &'static str,
    /// What cannot be done here.
    pub not_here: &'static str,
    /// Title of the end of a form without one of its own.
    pub thanks: &'static str,
    /// Text of the end of a form without one of its own.
    pub sent: &'static str,
    /// Told with status 427.
    pub expired: &'static str,
    /// Told with status 427 to whoever may answer once and has.
    pub answered: &'static str,
    /// Told when the submission could not be stored.
    pub try_again: &'static str,
}

impl Words {
    /// The words of a BCP 47 tag (`pt_BR` and `pt-BR` read `pt`); English when there are none.
    pub fn of(locale: &str) -> &'static Words {
        let base = locale.split(['-', '_']).next().unwrap_or_default();
        LANGUAGES.iter().find(|words| words.tag.eq_ignore_ascii_case(base)).unwrap_or(&LANGUAGES[0])
    }
}

/// Every language there are words for; English first.
pub const LANGUAGES: [Words; 6] = [
    Words {
        tag: "en",
        next: "Continue",
        submit: "Send",
        close: "Done",
        start: "Start",
        your_answer: "Your answer",
        choose: "Choose",
        other: "Other",
        specify: "Please specify",
        yes: "Yes",
        no: "No",
        agree: "I agree",
        read_more: "Read more",
        date: "Date",
        time: "Time",
        time_hint: "For example 09:30",
        search: "Search",
        search_hint: "Type a few letters, then choose from the list",
        nothing_found: "Nothing found",
        file: "Add a file",
        place: "Place",
        not_here: "This step cannot be done in WhatsApp.",
        thanks: "Thank you",
        sent: "Your answers have been sent.",
        expired: "This form has expired. Please ask for a new link.",
        answered: "You have already answered this form. Thank you.",
        try_again: "Your answers could not be saved yet. Please try again in a moment.",
    },
    Words {
        tag: "it",
        next: "Continua",
        submit: "Invia",
        close: "Fine",
        start: "Inizia",
        your_answer: "La tua risposta",
        choose: "Scegli",
        other: "Altro",
        specify: "Specifica",
        yes: "Sì",
        no: "No",
        agree: "Accetto",
        read_more: "Leggi tutto",
        date: "Data",
        time: "Ora",
        time_hint: "Per esempio 09:30",
        search: "Cerca",
        search_hint: "Scrivi qualche lettera, poi scegli dall'elenco",
        nothing_found: "Nessun risultato",
        file: "Aggiungi un file",
        place: "Posto",
        not_here: "Questo passaggio non si può fare su WhatsApp.",
        thanks: "Grazie",
        sent: "Le tue risposte sono state inviate.",
        expired: "Questo modulo è scaduto. Chiedi un nuovo link.",
        answered: "Hai già compilato questo modulo. Grazie.",
        try_again: "Non è stato ancora possibile salvare le risposte. Riprova tra poco.",
    },
    Words {
        tag: "es",
        next: "Continuar",
        submit: "Enviar",
        close: "Listo",
        start: "Empezar",
        your_answer: "Tu respuesta",
        choose: "Elige",
        other: "Otro",
        specify: "Especifica",
        yes: "Sí",
        no: "No",
        agree: "Acepto",
        read_more: "Leer más",
        date: "Fecha",
        time: "Hora",
        time_hint: "Por ejemplo 09:30",
        search: "Buscar",
        search_hint: "Escribe unas letras y elige de la lista",
        nothing_found: "Sin resultados",
        file: "Añadir un archivo",
        place: "Puesto",
        not_here: "Este paso no se puede hacer en WhatsApp.",
        thanks: "Gracias",
        sent: "Tus respuestas se han enviado.",
        expired: "Este formulario ha caducado. Pide un enlace nuevo.",
        answered: "Ya has respondido a este formulario. Gracias.",
        try_again: "Aún no se han podido guardar tus respuestas. Inténtalo de nuevo en un momento.",
    },
    Words {
        tag: "pt",
        next: "Continuar",
        submit: "Enviar",
        close: "Concluir",
        start: "Começar",
        your_answer: "Sua resposta",
        choose: "Escolha",
        other: "Outro",
        specify: "Especifique",
        yes: "Sim",
        no: "Não",
        agree: "Aceito",
        read_more: "Ler mais",
        date: "Data",
        time: "Hora",
        time_hint: "Por exemplo 09:30",
        search: "Buscar",
        search_hint: "Digite algumas letras e escolha na lista",
        nothing_found: "Nada encontrado",
        file: "Adicionar arquivo",
        place: "Lugar",
        not_here: "Esta etapa não pode ser feita no WhatsApp.",
        thanks: "Obrigado",
        sent: "Suas respostas foram enviadas.",
        expired: "Este formulário expirou. Peça um novo link.",
        answered: "Você já respondeu a este formulário. Obrigado.",
        try_again: "Ainda não foi possível salvar as respostas. Tente de novo em instantes.",
    },
    Words {
        tag: "fr",
        next: "Continuer",
        submit: "Envoyer",
        close: "Terminer",
        start: "Commencer",
        your_answer: "Votre réponse",
        choose: "Choisissez",
        other: "Autre",
        specify: "Précisez",
        yes: "Oui",
        no: "Non",
        agree: "J'accepte",
        read_more: "Lire la suite",
        date: "Date",
        time: "Heure",
        time_hint: "Par exemple 09:30",
        search: "Rechercher",
        search_hint: "Tapez quelques lettres, puis choisissez",
        nothing_found: "Aucun résultat",
        file: "Ajouter un fichier",
        place: "Place",
        not_here: "Cette étape n'est pas possible dans WhatsApp.",
        thanks: "Merci",
        sent: "Vos réponses ont été envoyées.",
        expired: "Ce formulaire a expiré. Demandez un nouveau lien.",
        answered: "Vous avez déjà répondu à ce formulaire. Merci.",
        try_again: "Vos réponses n'ont pas encore pu être enregistrées. Réessayez dans un instant.",
    },
    Words {
        tag: "de",
        next: "Weiter",
        submit: "Senden",
        close: "Fertig",
        start: "Los geht's",
        your_answer: "Ihre Antwort",
        choose: "Auswählen",
        other: "Anderes",
        specify: "Bitte angeben",
        yes: "Ja",
        no: "Nein",
        agree: "Ich stimme zu",
        read_more: "Mehr lesen",
        date: "Datum",
        time: "Uhrzeit",
        time_hint: "Zum Beispiel 09:30",
        search: "Suchen",
        search_hint: "Einige Buchstaben tippen, dann auswählen",
        nothing_found: "Nichts gefunden",
        file: "Datei hinzufügen",
        place: "Platz",
        not_here: "Dieser Schritt ist in WhatsApp nicht möglich.",
        thanks: "Vielen Dank",
        sent: "Ihre Antworten wurden gesendet.",
        expired: "Dieses Formular ist abgelaufen. Bitte fordern Sie einen neuen Link an.",
        answered: "Sie haben dieses Formular bereits ausgefüllt. Vielen Dank.",
        try_again: "Ihre Antworten konnten noch nicht gespeichert werden. Bitte gleich noch einmal versuchen.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_fits_the_property_it_fills() {
        let fits = |text: &str, max: usize| !text.trim().is_empty() && text.chars().count() <= max;
        for w in &LANGUAGES {
            assert!([w.next, w.submit, w.close, w.start].iter().all(|t| fits(t, 35)), "{}", w.tag);
            assert!(
                [w.your_answer, w.choose, w.specify, w.date, w.time, w.search].iter().all(|t| fits(t, 20)),
                "{}",
                w.tag
            );
            assert!([w.other, w.yes, w.no, w.nothing_found].iter().all(|t| fits(t, 30)), "{}", w.tag);
            assert!(fits(w.read_more, 25) && fits(w.search_hint, 80) && fits(w.time_hint, 80), "{}", w.tag);
        }
    }

    #[test]
    fn a_region_reads_its_language_and_an_unknown_language_reads_english() {
        assert_eq!(Words::of("pt_BR").tag, "pt");
        assert_eq!(Words::of("DE-AT").tag, "de");
        assert_eq!(Words::of("xx").tag, "en");
    }
}
