"""How people ask for exact facts, in Italian, English and Portuguese: patterns over a prepared question.

See `spelling`: letters are plain, <f0> is a path, <q0> a quotation, <d0> a folder's bare name. A pattern
is held against the whole question. Values are read from named groups.
"""

from __future__ import annotations

import re

from cervella_rag.domain import Kind

POLITE = re.compile(
    r"(?:(?:ciao|ehi|hey|hi|hello|scusa|senti|cervella|per favore|per piacere|please|por favor|ola|"
    r"mi dici|mi|me|"
    r"sai|"
    r"puoi|potresti|dimmi|dirmi|dire|vorrei sapere|voglio sapere|fammi sapere|can you|could you|tell me|"
    r"do you know|i want to know|podes|pode|voce|dizer-me|dizer|diga|diz-me|me diz|se|if|e|and|allora|ma)"
    r"[ ,:!]+)+"
)
THANKS = re.compile(
    r"[ ,.]*(?:per favore|per piacere|grazie|please|thanks|thank you|por favor|obrigad[oa])$"
)

# What may stand where one file, several, or a folder is named.
_FILE = r"(?:<[fqd]\d+>)"
_A_FILE = (
    r"(?:il |lo |la |i |gli |le |the |o |os |a |as |questi |questo |these |this |estes |este |un |una |"
    r"uno |um |uma )?"
)
_NOUN = (
    r"(?:file |files |documento |documenti |document |documents |ficheiros? |arquivos? |documentos? |"
    r"cartella |cartelle |folder |pasta )?"
)
_NAMED = rf"{_A_FILE}{_NOUN}(?:di nome |chiamato |named |called |chamado )?"
_FILES = (
    # Possessive: a list that does not end as it must is not tried again in every other way.
    rf"{_NAMED}{_FILE}(?:(?: ?[,;] ?| )(?:(?:e|ed|and|o|ou|or) )?(?:[-*•] |"
    rf"\d{{1,2}}[.)] )?{_NAMED}{_FILE})*+"
)
_IN = (
    r"(?:in |nel |nella |nello |nei |sotto |dentro |di |del |della |da |dal |dalla |on |inside |under |"
    r"within |of |from |em |no |na |do |de )"
)
_WHERE_FILE = rf"{_IN}(?:the )?{_NAMED}(?P<path>{_FILE}|<d\d+>)"
_FOLDER = r"(?P<folder><[fqd]\d+>|[a-z0-9_][\w.-]*)"
_WHERE = (
    rf"(?:{_IN}|sotto a |dentro a )?(?:la |the |a |o )?(?:cartella |sottocartella |directory |folder |"
    rf"pasta |diretorio )?{_FOLDER}"
)
_ALL = (
    r"(?: in tutto| in totale| complessivamente| adesso| ora| oggi| gia| now| in total| altogether|"
    r" ao todo| no total| agora)*+"
)

RECURSIVE = (
    r"sottocartelle (?:comprese|incluse)|(?:comprese|incluse|con) le sottocartelle|"
    r"anche nelle sottocartelle|"
    r"compres[oei] le sottocartelle|including subfolders|subfolders included|incluindo subpastas|"
    r"subpastas incluidas"
)
FLAT = (
    r"sottocartelle escluse|escluse le sottocartelle|senza (?:contare )?le sottocartelle|direttamente|"
    r"without subfolders|subfolders excluded|directly|not counting subfolders|sem subpastas|diretamente"
)
_WITH_FORMS = (
    r"(?:modell[oi]|template) compres[oi]|compres[oi] (?:il|i) (?:modell[oi]|template)|"
    r"(?:modell[oi]|template) inclus[oi]|inclus[oi] (?:il|i) (?:modell[oi]|template)|"
    r"(?:including )?the templates?(?: included)?|templates? included|including templates?|"
    r"modelos? incluidos?|incluindo o modelo"
)
WITHOUT_FORMS = (
    r"(?:modell[oi]|template) esclus[oi]|esclus[oi] (?:il|i) (?:modell[oi]|template)|senza (?:contare "
    r")?(?:il |i )?"
    r"(?:modell[oi]|template)|without (?:the )?templates?|templates? excluded|excluding templates?|"
    r"sem (?:o )?modelos?"
)
_FOLDER_NOTES = rf"(?:[ ,]+(?:{RECURSIVE}|{FLAT}|{_WITH_FORMS}|{WITHOUT_FORMS}))*+"
_EXTENSION = (
    r"(?:(?:in |di tipo |con estensione |of type )?\.?(?P<ext>md|markdown|txt|jsonl?|ya?ml|toml|csv|py|"
    r"js|ts|sh|sql|html|css|png|pdf) )?"
)
_FILES_NOUN = r"(?:file|files|documenti|documents?|note|ficheiros|arquivos|documentos)"

COUNT_FILES = (
    (
        rf"(?:quant[ei]|conta(?:mi)? (?:i|le|tutti i)|numero di) {_FILES_NOUN} {_EXTENSION}"
        rf"(?:ci sono|ci stanno|si trovano|stanno|sono|abbiamo|esistono|ha|contiene|"
        rf"conta)?{_ALL} ?{_WHERE}{_ALL}{_FOLDER_NOTES}"
    ),
    (
        rf"(?:how many|count (?:the|all)|number of) {_EXTENSION}{_FILES_NOUN} "
        rf"(?:are there|are|do we have|does|exist)?{_ALL} ?{_WHERE}(?: have| contain|"
        rf" hold)?{_ALL}{_FOLDER_NOTES}"
    ),
    (
        rf"(?:quant[oa]s|conta os|numero de) {_FILES_NOUN} {_EXTENSION}"
        rf"(?:ha|existem|estao|temos|tem|contem)?{_ALL} ?{_WHERE}{_ALL}{_FOLDER_NOTES}"
    ),
)
WHOLE_MEMORY = re.compile(r"memoria|tutta|memory|totale|tutto")

_CHECK = (
    r"(?:verifica(?:mi)?|controlla(?:mi)?|guarda|check|verify|confirma|verifique) (?:se |whether |if |"
    r"che )?"
)
_IS_THERE = r"(?:esistono|esiste|c'e|ci sono|abbiamo|existem|existe|ha|temos|is there|are there|do we have)"
_AND_LINES = (
    r"(?:,? e quante righe (?:hanno|ha)|,? and how many lines (?:they have|it has|each has)|"
    r",? e quantas linhas (?:tem|têm))"
)
EXISTS = (
    (
        rf"(?:{_CHECK})?{_IS_THERE}(?: gia| ancora| davvero| already| still| ja| ainda)? ?"
        rf"(?:questi file|i seguenti file|these files|the following files|"
        rf"estes ficheiros)?(?P<lines>{_AND_LINES})? ?:? ?(?P<files>{_FILES})"
        rf"(?P<lines_after>{_AND_LINES})?"
    ),
    (
        rf"(?:{_CHECK})?{_IS_THERE}(?: gia| ancora)? (?:un|una|uno|il|la|a|an|the|um|uma|o) "
        rf"[^<>?]{{1,80}}?,? "
        rf"(?:cioe|ovvero|ossia|vale a dire|that is|i\.e\.|namely|isto e|ou seja),? (?P<files>{_FILES})"
    ),
    (
        rf"(?P<files>{_FILES}) (?:esist(?:e|ono)|c'e|ci sono|exists?|existem?)(?: gia| ancora| davvero|"
        rf" already| still| ja)?"
    ),
    (
        rf"(?:{_CHECK})?(?:does|do|did) (?P<files>{_FILES}) (?:still |already |"
        rf"really )?exist(?P<lines>{_AND_LINES})?"
    ),
    (
        r"(?:check|verify) (?:whether |if |that )?(?:these files |the following files )?exists?"
        rf"(?P<lines>{_AND_LINES})? ?:? ?(?P<files>{_FILES})"
    ),
)

LINES = (
    (
        rf"(?:quante righe|quante linee) (?:di testo )?(?:ha|hanno|ci sono|contiene|contengono|"
        rf"conta){_ALL} ?(?:{_IN})?(?P<files>{_FILES}){_ALL}"
    ),
    rf"(?:di quante righe e|quanto e lungo|quanto lungo e) (?P<files>{_FILES})(?: in righe)?",
    rf"(?P<files>{_FILES}),? (?:quante righe (?:ha|hanno)|di quante righe e){_ALL}",
    (
        rf"(?:conta le righe|numero di righe|count the lines|line count|number of lines|conta as linhas) "
        rf"{_IN}(?:the )?(?P<files>{_FILES})"
    ),
    (
        rf"how many lines (?:does|do|are there|are|has|"
        rf"have){_ALL} ?(?:{_IN})?(?:the )?(?P<files>{_FILES})(?: have| contain)?{_ALL}"
    ),
    rf"how long is (?P<files>{_FILES})(?: in lines)?",
    rf"quantas linhas (?:tem|ha|existem){_ALL} ?(?:{_IN})?(?P<files>{_FILES}){_ALL}",
)

_WORD = (
    r"(?:la parola|il termine|la frase|l'espressione|la stringa|il testo|la scritta|il nome|the word|"
    r"the term|the phrase|the string|the text|the name|a palavra|o termo|a frase|o nome)"
)
_TERM = rf"(?:(?:{_WORD} )(?P<marked><q\d+>|[^\s<>,]+)|(?P<quoted><q\d+>)|(?P<bare>[^\s<>,]+))"
_REGEX = (
    r"(?:il pattern|l'espressione regolare|la regex|the pattern|the regex|the regular expression|"
    r"o padrao|a regex) (?P<regex><q\d+>)"
)
_WHAT = rf"(?:{_REGEX}|{_TERM})"
NUMBERED = r"(?:seguit[oa] da (?:un )?numero|followed by a number|seguid[oa] (?:de|por) (?:um )?numero)"
ANY = (
    r"in (?:ogni|qualsiasi|qualunque|tutte le) (?:grafi[ae]|form[ae]|varianti?|variante)|"
    r"(?:senza (?:badare|guardare|distinguere|far caso) (?:a |al|alle )?|ignorando (?:le )?)(?:maiuscole|"
    r"accenti|maiuscole e accenti|maiuscole e minuscole)|"
    r"maiuscole (?:comprese|incluse)|in any (?:spelling|case|form)|ignoring case|case[- ]insensitive|"
    r"em qualquer grafia|sem distinguir maiusculas"
)
AS_WRITTEN = (
    r"(?:esattamente |proprio )?(?:cosi )?com'e scritt[oa]|distinguendo le maiuscole|scritt[oa] cosi|"
    r"exactly as written|as written|"
    r"case[- ]sensitive|exatamente como escrito"
)
AS_PART = (
    r"anche (?:dentro|all'interno di) altre parole|anche come parte di parola|also inside words|"
    r"also within words"
)
_NOTES = rf"(?P<notes>(?:,? ?(?:{NUMBERED}|{ANY}|{AS_WRITTEN}|{AS_PART}))*+)"
_OCCURS = (
    r"(?:compar(?:e|ono)|appar(?:e|ono)|ricorr(?:e|ono)|si trova(?:no)?|c'e|e (?:citat|nominat|menzionat|"
    r"scritt|usat|ripetut)[oa]|"
    r"viene (?:citat|nominat|menzionat|scritt|usat|ripetut)[oa]|compaia|si legge|occorre)"
)
_OCCURS_EN = r"(?:appears?|occurs?|shows? up|comes? up|mentioned|written|used|named)"
_OCCURS_PT = r"(?:aparece|ocorre|surge|se encontra|e (?:citad|mencionad|usad|escrit)[oa])"
COUNT_MATCHES = (
    rf"quante volte {_OCCURS} {_WHAT}{_NOTES},? {_WHERE_FILE}{_NOTES.replace('notes', 'more')}",
    rf"quante volte {_WHERE_FILE} {_OCCURS} {_WHAT}{_NOTES}",
    rf"{_WHERE_FILE},? quante volte {_OCCURS} {_WHAT}{_NOTES}",
    (
        rf"(?:quante occorrenze|conta(?:mi)? le occorrenze|numero di occorrenze) (?:di|della parola|"
        rf"del termine|della frase) {_WHAT}{_NOTES}"
        rf"(?: ci sono| si trovano)? {_WHERE_FILE}"
    ),
    (
        rf"how (?:many times|often) (?:does|do|is|"
        rf"are) {_WHAT} {_OCCURS_EN}{_NOTES} {_WHERE_FILE}{_NOTES.replace('notes', 'more')}"
    ),
    (
        rf"(?:how many occurrences|count (?:the |all )?occurrences|"
        rf"number of occurrences) of {_WHAT}{_NOTES}(?: are there| are)? {_WHERE_FILE}"
    ),
    rf"quantas vezes {_OCCURS_PT} {_WHAT}{_NOTES},? {_WHERE_FILE}",
    rf"quantas vezes {_WHAT} {_OCCURS_PT}{_NOTES} {_WHERE_FILE}",
)
_EVERYWHERE = (
    r"(?: in tutta la memoria| nella memoria| in tutti i file| ovunque| in all files|"
    r" in the whole memory| in the memory| in memory| em toda a memoria| na memoria)"
)
COUNT_ANYWHERE = (
    rf"quante volte {_OCCURS} {_WHAT}{_NOTES}(?P<everywhere>{_EVERYWHERE})?",
    (
        rf"how (?:many times|often) (?:does|do|is|"
        rf"are) {_WHAT} {_OCCURS_EN}{_NOTES}(?P<everywhere>{_EVERYWHERE})?"
    ),
    rf"quantas vezes {_OCCURS_PT} {_WHAT}{_NOTES}(?P<everywhere>{_EVERYWHERE})?",
)
_COUNT_VERB = (
    r"(?:conta(?:mi)?|contare|count|conte)(?: quante volte (?:compaiono|appaiono|ricorrono|compare)|"
    r" le occorrenze di| how often| how many times| quantas vezes aparecem?)?"
)
COUNT_LIST = (
    rf"{_WHERE_FILE},? {_COUNT_VERB} ?:? ?(?P<items>.+)",
    rf"{_COUNT_VERB} {_WHERE_FILE} ?: ?(?P<items>.+)",
    rf"{_COUNT_VERB} (?P<items>[^:]+?) {_WHERE_FILE}",
)
ITEM = re.compile(rf"(?:e |ed |and |{_WORD} )*(?P<term><q\d+>|[^\s<>,;]+){_NOTES}")

_LINK_NOUN = (
    r"(?:link|links|url|urls|fonti|indirizzi web|indirizzi|collegamenti|riferimenti web|sources|"
    r"web addresses|ligacoes|enlaces|fontes|enderecos)"
    r"(?: url| web| esterni| esterne)?"
)
_CITED = (
    r"(?:citat[eio]|contenut[ei]|present[ei]|indicat[ei]|elencat[ei]|riportat[ei]|usat[ei]|nominat[ei]|"
    r"cited|listed|mentioned|found|"
    r"contained|citad[ao]s|referid[ao]s)"
)
_LINK_TAIL = (
    r"(?P<tail>(?:[ ,:;]*(?:e |and )?(?:quant[ei] sono|quali(?: sono)?(?: i| le| gli)? (?:principali|"
    r"piu citat[ei])|how many(?: there are| are there)?|"
    r"(?:which|what)(?: are)?(?: the)? main(?: ones)?|quantas sao|quais (?:sao )?as principais|"
    r"al massimo \d+|massimo \d+|max\.? \d+|"
    r"at most \d+|no maximo \d+|quante volte ciascun[oa]|con i conteggi|in ordine))*+)"
)
LINKS = (
    (
        rf"(?:estrai|elenca(?:mi)?|trova(?:mi)?|dammi|mostra(?:mi)?|conta|lista|extract|list|find|"
        rf"show(?: me)?|count|extrai|lista|mostra)"
        rf" (?:tutt[ei] |all )?(?:i |le |gli |the |as |os )?{_LINK_NOUN}(?: {_CITED})? {_IN}(?:the "
        rf")?{_NAMED}(?P<path>{_FILE}){_LINK_TAIL}"
    ),
    (
        rf"(?:quali|quanti|quante|che|which|what|how many|quais|quantas|quantos) {_LINK_NOUN} (?:ci sono|"
        rf"sono {_CITED}|are|are there|are {_CITED}|"
        rf"compaiono|si trovano|ha|existem|estao)? ?(?:{_IN})(?:the )?{_NAMED}(?P<path>{_FILE}){_LINK_TAIL}"
    ),
    (
        rf"(?:quali|quanti|quante|che|quais|quantas|quantos) {_LINK_NOUN} (?:cita|contiene|ha|riporta|usa|"
        rf"elenca|tem|contem) {_NAMED}(?P<path>{_FILE}){_LINK_TAIL}"
    ),
    (
        rf"(?:which|what|how many) {_LINK_NOUN} (?:does|do) {_NAMED}(?P<path>{_FILE}) (?:cite|contain|have|"
        rf"list|mention|use){_LINK_TAIL}"
    ),
)

KINDS: dict[str, str] = {
    r"decision[ei]|decisions?|decis(?:ao|oes)": Kind.DECISION,
    r"lezion[ei]|lessons?|lic(?:ao|oes)": Kind.LESSON,
    r"ricerc(?:a|he)|research(?:es)?|pesquisas?": Kind.RESEARCH,
    r"roadmaps?": Kind.ROADMAP,
    r"ide[ae]|ideas?|ideias?": Kind.IDEA,
    r"reports?|rapport[oi]|relator(?:io|ios)": Kind.REPORT,
    r"handoffs?|passagg(?:io|i) di consegne": Kind.HANDOFF,
    r"regol[ae]|rules?|regras?": Kind.RULE,
    r"(?:diari|documenti|note) di sessione|session notes|notas de sessao": Kind.SESSION,
}
_ANY_RECORD = r"document[oi]|documents?|files?|records?|ficheiros?|arquivos?|documentos?"
_KIND = rf"(?P<kind>{'|'.join(KINDS)}|{_ANY_RECORD})"
COUNT_KIND = (
    (
        rf"quant[ei] {_KIND} (?:abbiamo|ci sono|esistono|abbiamo (?:preso|scritto|fatto|registrato|"
        rf"raccolto))(?P<rest>(?: .*)?)"
    ),
    (
        rf"how many {_KIND} (?:do we have|are there|have we (?:made|taken|recorded|written)|did we (?:make|"
        rf"take|write|record))(?P<rest>(?: .*)?)"
    ),
    rf"quant[oa]s {_KIND} (?:temos|ha|existem|tomamos|escrevemos)(?P<rest>(?: .*)?)",
)
LIST_KIND = (
    (
        rf"(?:elenca(?:mi)?|lista(?:mi)?|mostra(?:mi)?|quali sono|dammi(?: la lista| l'elenco)?|"
        rf"fammi (?:la lista|l'elenco)) (?:di )?(?:tutt[ei] )?"
        rf"(?:le|i|gli|delle|dei|degli)? ?{_KIND}(?P<rest>(?: .*)?)"
    ),
    rf"(?:list|show(?: me)?|give me|what are) (?:all )?(?:of )?(?:the |our )?{_KIND}(?P<rest>(?: .*)?)",
    rf"(?:lista|mostra|quais sao) (?:todas |todos )?(?:as |os )?{_KIND}(?P<rest>(?: .*)?)",
)
NEWEST_KIND = (
    (
        rf"(?:qual e|quale e|dimmi|mostrami|trova(?:mi)?) (?:il |la |lo |l')?{_KIND} (?:piu (?:recente|"
        rf"nuov[oa]|fresc[oa])|ultim[oa])(?P<rest>(?: .*)?)"
    ),
    (
        rf"(?:qual e|quale e|dimmi|mostrami) (?:l'|il |la )?(?:piu recente |ultim[oa] ){_KIND}(?P<rest>(?: "
        rf".*)?)"
    ),
    (
        rf"(?:what is|what's|which is|show me) (?:the |our )?(?:latest|newest|most recent|"
        rf"last) {_KIND}(?P<rest>(?: .*)?)"
    ),
    (
        rf"qual (?:e|foi) (?:o |a )?(?:{_KIND} mais recente|"
        rf"ultim[oa] {_KIND.replace('kind', 'other')})(?P<rest>(?: .*)?)"
    ),
)
SESSION = re.compile(
    r"(?:^| )(?:della|nella|in|of|from|da|na) (?:sessione|session|sessao) (\d{1,4}[a-z]?)(?= |$)"
)
PROJECT = re.compile(
    r"(?:^| )(?:del|nel|per il|sul|of|in|for|do|no|on)(?: the)? (?:progetto|project|projeto) ([\w-]+)(?= "
    r"|$)"
)
FILLER = re.compile(
    r"(?:^| )(?:che abbiamo(?: preso| scritto)?|abbiamo|pres[eoi]|scritt[eoi]|registrat[eoi]|in memoria|"
    r"nella memoria|finora|in tutto|in totale|"
    r"in memory|so far|in total|that we (?:have|took|wrote)|na memoria|ate agora|no total|gia|"
    r"already)(?= |$)"
)
ABOUT = re.compile(
    r"(?:riguardo (?:a|al|alla) |a proposito di |su |sull?[aeo]? |sull'|sugli |sui |che parla di |about |"
    r"on |"
    r"regarding |sobre )(?P<about>[^<>?,]{2,60})"
)

READ = re.compile(
    r"(?:leggi|leggimi|riassumi|riassumimi|sintetizza|analizza|apri|esamina|rileggi|commenta|"
    r"fammi un riassunto|read|"
    r"summari[sz]e|analy[sz]e|open|review|le|leia|resume|resuma|analisa)\b"
)
TAKE = re.compile(
    r"(?:da|dal|dalla|dalle|dai|dagli|in|nel|nelle|nei|from|in|de|das|dos)\b[^<>?]{0,60}?.*\b"
    r"(?:estrai|ricava|elenca|riassumi|confronta|extract|list|summari[sz]e|compare|extrai|resume|"
    r"compara)\b|"
    r"(?:estrai|ricava|confronta|extract|compare|extrai|compara)\b.*\b(?:da|dal|dalla|dalle|dai|from|di|"
    r"between|tra|fra|de|das)\b"
)
STEM = re.compile(r"(?<![\w<.-])[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+(?![\w.-])")
FIELDS = {
    r"(?:lo )?stato|(?:the )?status|(?:o )?estado": "status",
    r"(?:la )?data|(?:the )?date|(?:a )?data": "date",
    r"(?:la )?sessione|(?:the )?session|(?:a )?sessao": "session",
    r"(?:l')?autore|(?:l')?autrice|(?:the )?author|(?:o )?autor": "author",
    r"(?:il )?titolo|(?:the )?title|(?:o )?titulo": "title",
}
FIELD = re.compile(
    rf"(?:qual e|quale e|che|quale|what is|what's|which is|qual e|que) (?P<field>{'|'.join(FIELDS)})(?: "
    rf"ha| e)?"
    r"(?: (?:di|del|della|dello|of|do|da|de))?(?: (?:il|la|the|o|a))?(?: (?:file|decisione|documento|"
    r"decision|document|ficheiro|decisao))? (?P<name><[fq]\d+>|[\w-]+_[\w-]+)"
)

WEEKDAY = re.compile(
    r"(?:che giorno(?: della settimana)?|what day(?: of the week)?|que dia(?: da semana)?) "
    r"(?:era|e|sara|cade|cadeva|e stato|was|is|will be|era|foi|e|sera) (?P<period>.+)"
)
DAYS_BETWEEN = re.compile(
    r"(?:quanti giorni|how many days|quantos dias) (?:ci sono |passano |sono passati |corrono |"
    r"are there |passed |ha |passaram )?"
    r"(?P<period>(?:tra|fra|dal|dall'|da|between|from|entre|de) .+)"
)
