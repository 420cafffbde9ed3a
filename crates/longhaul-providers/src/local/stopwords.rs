//! Words that carry grammar rather than matter, per language.
//!
//! Short lists of the closed word classes (articles, pronouns, prepositions, conjunctions, auxiliaries), compared after
//! [`lower`](super::words::lower). A language without a list has none: callers say what they do then.

use std::collections::HashSet;
use std::sync::LazyLock;

const ENGLISH: &str = "a about above after again against all almost along already also although always am among an and \
    another any anyone anything are around as at away back be became because become been before being below between \
    both but by came can cannot could did do does doing done down during each either else enough even ever every few \
    for from further gave get gets give given go goes going gone got had has have having he her here hers herself him \
    himself his how however i if in instead into is it its itself just keep keeps kept last later least less let like made make \
    makes many may maybe me might mine more most much must my myself near never next no nobody none nor not nothing now \
    of off often on once one only onto or other others ought our ours ourselves out over own per perhaps put quite \
    rather really said same saw say says see seem seems several shall she should since so some someone something soon \
    still such take taken than that the their theirs them themselves then there these they thing things this those \
    though three through thus till to together too took toward towards two under until up upon us use used uses using \
    very via was way we well went were what whatever when where whether which while who whole whom whose why will with \
    within without would yet you your yours yourself yourselves \
    i'm i've i'll i'd you're you've you'll you'd he's she's it's we're we've we'll they're they've they'll that's \
    there's what's who's isn't aren't wasn't weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't \
    hasn't haven't hadn't let's";

const GERMAN: &str = "ab aber alle allem allen aller alles als also am an ander andere anderen anderer anderes auch auf \
    aus außer bei beide beiden beim bereits bevor bin bis bist da dabei dadurch dafür dagegen daher damit danach dann \
    daran darauf daraus darf darin darüber darum das dass dasselbe davon davor dazu dein deine deinem deinen deiner dem \
    demselben den denen denn dennoch der deren derselbe des dessen dich die dies diese diesem diesen dieser dieses dir \
    doch dort du durch ein eine einem einen einer eines einige einigen einmal er erst es etwa etwas euch euer eure \
    für gegen gewesen hab habe haben hat hatte hatten hier hin hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im \
    immer in indem ins irgend ist ja jede jedem jeden jeder jedes jedoch jene jenem jenen jener jetzt kann kannst kein \
    keine keinem keinen keiner können könnte konnte machen man manche mehr mein meine meinem meinen meiner mich mir mit \
    möchte muss müssen musste nach nachdem neben nein nicht nichts nie noch nun nur ob oben oder oft ohne schon sehr \
    sein seine seinem seinen seiner seit selbst sich sie sind so sodass solche sollen sollte sondern sonst soweit \
    sowie über um und uns unser unsere unserem unseren unter viel viele vielen vom von vor während wann war waren warum \
    was weder weil weiter welche welchem welchen welcher wenig wenn wer werde werden wie wieder will wir wird wirst wo \
    wollen wollte worden wurde wurden würde würden zu zum zur zwar zwischen";

const FRENCH: &str = "à afin ai aient ailleurs ainsi alors après as au aucun aucune aujourd'hui auquel aussi autant autre \
    autres aux avaient avais avait avant avec avez avoir avons ayant beaucoup bien c car ce ceci cela celle celles \
    celui cependant certain certaine certaines certains ces cet cette ceux chaque chez ci comme comment contre d dans de \
    dehors déjà depuis derrière des dès dessous dessus deux devant doit donc dont du durant elle elles en encore enfin \
    entre es est et étaient étais était étant été être eu eux fait faire fois font furent fut grâce hors ici il ils j \
    jamais je jusqu jusque l la là laquelle le lequel les lesquelles lesquels leur leurs lors lorsque lui m ma mais \
    malgré me même mêmes mes mien moi moins mon n ne ni non nos notre nous on ont ou où par parce parfois parmi pas \
    pendant peu peut peuvent plus plusieurs plutôt pour pourquoi près presque puis puisque qu quand que quel quelle \
    quelles quels quelque quelques qui quoi s sa sans se selon sera seront ses si sien soi soit son sont sous souvent \
    suis sur t ta tandis tant te tel telle telles tels tes toi ton toujours tous tout toute toutes très trop tu un une \
    vers voici voilà vos votre vous y";

const SPANISH: &str = "a acá ahí al algo alguien algún alguna algunas alguno algunos allá allí ambos ante antes aquel \
    aquella aquellas aquello aquellos aquí así aun aún aunque bajo bastante bien cada casi como cómo con contra cual \
    cuál cuales cualquier cuando cuándo cuanto de debe deben del demás dentro desde después donde dónde dos durante e el \
    él ella ellas ello ellos en encima entonces entre era eran es esa esas ese eso esos esta está estaba estaban están \
    estar estas este esto estos fue fueron fuera ha había habían haber hace hacer hacia han hasta hay incluso la las le \
    les lo los luego más me mi mí mientras mis mismo misma mismos mucho mucha muchos muchas muy nada nadie ni ningún \
    ninguna ninguno no nos nosotros nuestra nuestras nuestro nuestros nunca o os otra otras otro otros para pero poca \
    poco pocos por porque pues puede pueden que qué quien quién quienes se sea según ser si sí sido siempre sin sino \
    sobre sólo solo son su sus tal también tampoco tan tanto te tiene tienen toda todas todavía todo todos tras tu tú \
    tus un una unas uno unos usted ustedes va van vosotros y ya yo";

const ITALIAN: &str = "a ad agli ai al alla alle allo anche ancora avere aveva c che chi ci ciò come con cosa così cui da \
    dagli dai dal dalla dalle dallo degli dei del della delle dello dentro di dopo dove dunque e è ed era erano essere \
    fa fino fra fu gli ha hanno ho i il in io l la le lei li lo loro lui ma mai me mentre mi mia mio molto ne né negli \
    nei nel nella nelle nello no noi non nostra nostro o ogni oppure ora per perché però più poco poi prima può qua \
    quale quali quando quanto quasi quella quelle quelli quello questa queste questi questo qui se sei senza si sia solo \
    sono sopra sotto sta stata state stati stato su sua sue sugli sui sul sulla sulle suo suoi tra tu tutta tutte tutti \
    tutto un una uno vi voi";

const PORTUGUESE: &str = "a à ainda algo algum alguma alguns ao aos aquela aquele aqueles aquilo as às assim até bem cada \
    com como contra cujo da das de dela dele deles depois desde dessa desse desta deste do dos e é ela elas ele eles em \
    enquanto entre era eram essa essas esse esses esta está estão estas este estes eu foi for foram há isso isto já lá \
    lhe mais mas me mesmo meu minha muito muitos na não nas nem nenhum nessa nesse nesta neste no nos nós nossa nosso \
    num numa o onde os ou outra outras outro outros para pela pelas pelo pelos pode podem por porque pouco quais qual \
    quando quanto que quem são se seja sem sempre ser será seu seus só sob sobre sua suas também tal tanto tem têm teu \
    ter toda todas todo todos tu tua tudo um uma umas uns você vocês";

const DUTCH: &str = "aan al alle alleen als alsof altijd andere ben bij daar daarom dan dat de deze die dit doch doen door \
    dus een en er geen had hadden heb hebben heeft het hem hen hier hij hoe hun iets ik in is ja je jij kan kon kunnen \
    maar me meer men met mij mijn moet na naar niet niets nog nu of om omdat onder ons ook op over reeds te tegen toch \
    toen tot u uit uw van veel voor want waren was wat we wel werd wezen wie wij wil word worden zal ze zei zelf zich \
    zij zijn zo zonder zou";

const DANISH: &str = "af alle altid alt anden at aldrig blev blive bliver da dag de dem den denne der deres det dette dig din \
    dine disse dit du efter eller en end er et fik for fordi fra få før gennem gik gør går ham han hans har havde hele \
    hende hendes her hvad hver hvem hvis hvor hvordan hvorfor i igen ikke ind ingen intet jeg jer jeres kan kom kun kunne \
    lidt man mange med meget men mens mere mig min mine mit mod må ned noget nogen nogle nu når og også om op os over på \
    sammen selv sig sin sine sit skal skulle som så sådan thi til ud uden under var ved vi vil ville vor være været";

const SWEDISH: &str = "alla allt att av bara blev bli blir då de deras dem den denna deras dess dessa det detta dig din dina \
    ditt du där efter ej eller en ett från för före ha hade han hans har henne hennes hon honom hur här i icke ingen inom \
    inte jag ju kan kunde man med mellan men mig min mina mitt mot mycket många måste ni nu när någon något några och om \
    oss på samma sedan sig sin sina sitt ska skulle som så sådan till under upp ut utan vad var vara varför varit varje \
    vars vem vi vid vilken vilket vår våra än är även åt över också eftersom mer";

static SETS: LazyLock<Vec<(&'static str, HashSet<&'static str>)>> = LazyLock::new(|| {
    let lists = [
        ("en", ENGLISH),
        ("de", GERMAN),
        ("fr", FRENCH),
        ("es", SPANISH),
        ("it", ITALIAN),
        ("pt", PORTUGUESE),
        ("nl", DUTCH),
        ("da", DANISH),
        ("sv", SWEDISH),
    ];
    lists.into_iter().map(|(code, words)| (code, words.split_whitespace().collect())).collect()
});

/// The stop words of a language by its BCP 47 tag, if there is a list.
pub(super) fn of(code: &str) -> Option<&'static HashSet<&'static str>> {
    SETS.iter().find(|(known, _)| *known == code).map(|(_, words)| words)
}

/// Every language that has a list, with it.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static HashSet<&'static str>)> {
    SETS.iter().map(|(code, words)| (*code, words))
}

/// The stop words of English.
pub(super) fn english() -> &'static HashSet<&'static str> {
    static EMPTY: LazyLock<HashSet<&'static str>> = LazyLock::new(HashSet::new);
    of("en").unwrap_or(&EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_in_the_form_in_which_it_is_compared() {
        for (code, words) in SETS.iter() {
            assert!(words.len() > 80, "{code}");
            for word in words {
                assert_eq!(&super::super::words::lower(word), word, "{code}");
            }
        }
    }
}
