//! Names and words of names that tell what a capitalised name is: short lists, in lower case, on purpose incomplete.
//!
//! A name that no list knows is called a name; a guess would be worse than that.

use std::collections::HashSet;
use std::sync::LazyLock;

const PLACES: &str = "afghanistan|albania|algeria|andorra|angola|argentina|armenia|australia|austria|azerbaijan|bahrain|\
    bangladesh|belarus|belgium|belize|benin|bhutan|bolivia|botswana|brazil|brunei|bulgaria|burundi|cambodia|cameroon|\
    canada|chile|china|colombia|congo|costa rica|croatia|cuba|cyprus|denmark|djibouti|ecuador|egypt|el salvador|england|\
    eritrea|estonia|ethiopia|fiji|finland|france|gabon|gambia|germany|ghana|greece|greenland|guatemala|guinea|haiti|\
    honduras|hong kong|hungary|iceland|india|indonesia|iran|iraq|ireland|israel|italy|jamaica|japan|kazakhstan|kenya|\
    kosovo|kuwait|laos|latvia|lebanon|liberia|libya|liechtenstein|lithuania|luxembourg|madagascar|malawi|malaysia|mali|\
    malta|mauritius|mexico|moldova|monaco|mongolia|montenegro|morocco|mozambique|myanmar|namibia|nepal|netherlands|\
    new zealand|nicaragua|niger|nigeria|north korea|northern ireland|norway|oman|pakistan|panama|paraguay|peru|\
    philippines|poland|portugal|qatar|romania|russia|rwanda|saudi arabia|scotland|senegal|serbia|singapore|slovakia|\
    slovenia|somalia|south africa|south korea|spain|sri lanka|sudan|sweden|switzerland|syria|taiwan|tanzania|thailand|\
    tunisia|turkey|uganda|ukraine|united arab emirates|united kingdom|united states|united states of america|uruguay|\
    uzbekistan|venezuela|vietnam|wales|yemen|zambia|zimbabwe|\
    africa|america|antarctica|asia|europe|oceania|north america|south america|latin america|middle east|scandinavia|\
    atlantic|pacific|mediterranean|baltic|alps|andes|himalayas|pyrenees|danube|rhine|nile|amazon|thames|seine|\
    alaska|arizona|arkansas|california|colorado|connecticut|delaware|florida|hawaii|idaho|illinois|indiana|iowa|kansas|\
    kentucky|louisiana|maine|maryland|massachusetts|michigan|minnesota|mississippi|missouri|montana|nebraska|nevada|\
    new hampshire|new jersey|new mexico|new york|north carolina|north dakota|ohio|oklahoma|oregon|pennsylvania|\
    rhode island|south carolina|south dakota|tennessee|texas|utah|vermont|virginia|washington|wisconsin|wyoming|\
    ontario|quebec|bavaria|bayern|catalonia|andalusia|tuscany|sicily|provence|brittany|normandy|cornwall|\
    amsterdam|ankara|antwerp|athens|atlanta|auckland|baghdad|baltimore|bangalore|bangkok|barcelona|basel|beijing|beirut|\
    belfast|belgrade|berlin|bern|bogotá|bologna|bonn|bordeaux|boston|bratislava|bremen|brisbane|bristol|brussels|\
    bucharest|budapest|buenos aires|cairo|calcutta|cambridge|cape town|caracas|cardiff|casablanca|chennai|chicago|\
    cologne|copenhagen|dallas|damascus|delhi|denver|detroit|dhaka|dresden|dubai|dublin|düsseldorf|edinburgh|florence|\
    frankfurt|geneva|genoa|genève|ghent|glasgow|gothenburg|granada|hamburg|hannover|hanoi|havana|helsinki|houston|\
    istanbul|jakarta|jerusalem|johannesburg|karachi|kiev|kyiv|köln|kraków|kuala lumpur|kyoto|lagos|lausanne|leeds|\
    leipzig|lille|lima|lisbon|lisboa|liverpool|ljubljana|london|los angeles|lyon|madrid|manchester|manila|marseille|\
    melbourne|mexico city|miami|milan|milano|montreal|moscow|mumbai|munich|münchen|nairobi|nantes|naples|new delhi|\
    new orleans|nice|nuremberg|nürnberg|osaka|oslo|ottawa|oxford|paris|philadelphia|phoenix|porto|prague|reykjavik|riga|\
    rio de janeiro|roma|rome|rotterdam|salzburg|san diego|san francisco|san sebastián|santiago|são paulo|sarajevo|\
    seattle|seoul|sevilla|seville|shanghai|shenzhen|sofia|stockholm|strasbourg|stuttgart|sydney|tallinn|tehran|tel aviv|\
    tokyo|toronto|toulouse|tunis|turin|utrecht|valencia|vancouver|venice|vienna|vilnius|warsaw|wien|zagreb|zurich|zürich|\
    deutschland|österreich|schweiz|frankreich|italien|spanien|polen|españa|méxico|perú|suisse|belgique|allemagne|espagne";

const GIVEN_NAMES: &str = "aaron ada adam adrian agnes ahmed aisha alan albert alessandro alex alexander alexandra ali alice \
    alicia amanda amelia amina amy ana andrea andreas andrew angela anita anja ann anna anne anthony antoine antonio \
    arthur astrid barbara beatrice ben benjamin bernard bernd betty bill björn bob brian bruno camille carla carlos \
    carmen carol caroline catherine cecilia charles charlotte chen chloe chris christian christina christine christopher \
    claire clara claudia clémence colin daniel daniela david deborah diana diego dieter dimitri dmitri dominik donald \
    dorothy edith eduardo edward elena eleanor elias elisabeth elizabeth ella ellen emil emily emma eric erik ernesto \
    esther ethan eva evelyn fatima felix fernando finn fiona florian frances francesca francesco francis frank franz \
    françois frederick friedrich fritz gabriel gabriela george georg georges gerald gerhard giovanni giulia gloria grace \
    greta guillaume gustav hannah hans harold harry hassan heather heidi heinrich helen helena helga henri henrik henry \
    hiroshi howard hugo ibrahim ida ines ingrid irene isaac isabel isabella ivan jack jacob jacques jake james jan jane \
    janet jason javier jean jeff jennifer jens jessica joan joe johan johann johannes john jonas jonathan jorge josé \
    josef joseph josephine joshua juan julia julian julie jürgen kaitlyn karen karin karl katarina kate katharina \
    katherine kathleen keith kenji kenneth kevin klaus kurt lars laura lea leila lena leo leon leonard leonardo leonie \
    lewis liam lily linda linus lisa louis louise luca lucas lucia lucy luis luisa lukas lydia magdalena manuel marc \
    marco marcus margaret margarita maria mariam marie mario mark markus marta martha martin martina mary mathilde \
    matteo matthew matthias max maya mei michael michel michelle miguel mohamed mohammed monica monika nadia nancy \
    naomi natalia natalie nathan nicholas nicola nicolas nina noah nora norman olaf oliver olivia omar oscar otto pablo \
    pamela patricia patrick paul paula paulo pedro peter petra philip philipp philippe pierre priya rachel rafael ralph \
    raj ravi rebecca renate ricardo richard robert roberto robin roger roland ronald rosa rose roy rudolf ruth ryan \
    sabine sally samantha samuel sandra sara sarah sebastian sergei sergio sharon simon simone sofia sonja sophia \
    sophie stefan stefanie stephanie stephen steven stuart susan susanne sven sylvia tanja tatiana teresa theo theodor \
    theresa thomas tim timothy tobias tom tomás tony uwe valentina vanessa vera victor victoria vincent virginia \
    vladimir walter wanda wei werner wilhelm william wolfgang xavier yasmin yuki yusuf zoe";

/// Words that stand before the name of a person and nowhere else.
const TITLES: &str = "mr mrs ms dr prof professor sir doctor herr frau monsieur madame mademoiselle mme mlle señor señora \
    señorita sra srta don doña signor signora";

/// Words that stand before the name of a person, and elsewhere too: "General Assembly".
const RANKS: &str = "miss dame lord lady king queen prince princess president chancellor minister senator governor mayor \
    judge captain general colonel major sergeant lieutenant admiral pope bishop father sister saint";

const ORGANISATION_ENDS: &str = "inc ltd llc llp plc corp corporation company co gmbh ag kg se sa sarl srl spa bv nv ab oy as \
    group holding holdings bank university universität université universidad college school institute institut \
    instituto foundation stiftung association society committee commission council agency ministry department office \
    bureau authority court parliament senate congress union federation party club church hospital museum library press \
    times post journal news airlines airways railways partners ventures capital laboratories labs technologies systems \
    software solutions industries motors pharmaceuticals insurance trust orchestra academy federation team";

const ORGANISATION_STARTS: &str = "university bank ministry department institute museum academy house board office bureau \
    universität université universidad ministerium ministère ministerio bundesamt banque banco";

const PLACE_ENDS: &str = "river lake mountain mountains sea ocean bay gulf island islands valley desert forest street avenue \
    road boulevard square park bridge beach harbour harbor airport station county province city peninsula straße strasse \
    platz";

const PLACE_STARTS: &str = "mount lake cape fort port isle gulf strait rue calle avenue";

const CALENDAR: &str = "monday tuesday wednesday thursday friday saturday sunday january february march april may june july \
    august september october november december montag dienstag mittwoch donnerstag freitag samstag sonntag januar \
    februar märz mai juni juli oktober dezember english german french spanish italian dutch portuguese russian chinese \
    japanese american british european";

/// Words that may stand inside a name in lower case.
pub(super) const PARTICLES: &[&str] = &[
    "of", "de", "la", "le", "du", "des", "del", "della", "di", "da", "dos", "van", "von", "der", "den", "ter", "zu",
    "bin", "al", "el", "y", "für", "the",
];

type Words = LazyLock<HashSet<&'static str>>;

static PLACE_SET: Words = LazyLock::new(|| PLACES.split('|').collect());
static GIVEN_NAME_SET: Words = LazyLock::new(|| GIVEN_NAMES.split_whitespace().collect());
static TITLE_SET: Words = LazyLock::new(|| TITLES.split_whitespace().collect());
static CALENDAR_SET: Words = LazyLock::new(|| CALENDAR.split_whitespace().collect());

pub(super) fn is_place(name: &str) -> bool {
    PLACE_SET.contains(name)
}

pub(super) fn is_given_name(word: &str) -> bool {
    GIVEN_NAME_SET.contains(word)
}

pub(super) fn is_title(word: &str) -> bool {
    TITLE_SET.contains(word)
}

pub(super) fn is_rank(word: &str) -> bool {
    RANKS.split_whitespace().any(|rank| rank == word)
}

/// Days, months, languages and nationalities: capitalised in English, but no names of anything one could ask about.
pub(super) fn is_calendar_or_nationality(word: &str) -> bool {
    CALENDAR_SET.contains(word)
}

pub(super) fn ends_organisation(word: &str) -> bool {
    ORGANISATION_ENDS.split_whitespace().any(|end| end == word)
}

pub(super) fn starts_organisation(word: &str) -> bool {
    ORGANISATION_STARTS.split_whitespace().any(|start| start == word)
}

pub(super) fn ends_place(word: &str) -> bool {
    PLACE_ENDS.split_whitespace().any(|end| end == word)
}

pub(super) fn starts_place(word: &str) -> bool {
    PLACE_STARTS.split_whitespace().any(|start| start == word)
}
