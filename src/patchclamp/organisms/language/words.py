"""The microworld's own lexicon in four languages, each word of one class only."""

from dataclasses import dataclass
from functools import cache


def split_words(words: str) -> tuple[str, ...]:
    """Split a list written with blanks."""
    return tuple(words.split())


LANGUAGES = ("english", "french", "german", "spanish")

WOMEN = split_words(
    "Ann Beth Clara Dora Ella Fay Greta Helen Ida Jane Kate Lucy Mary Nora Olga Paula Rita Sara Tina Vera "
    "Wanda Zoe Alice Carol Diana Emma Flora Gina Hanna Irene Julia Karen Laura Mona Nina Ruth Sonia Tessa Ursula Yana"
)
MEN = split_words(
    "Adam Ben Carl David Eric Frank George Henry Ivan Jack Karl Leo Mark Neil Oscar Paul Ralph Simon Tom Victor "
    "Walter Alan Bruno Colin Dennis Emil Felix Gavin Hugo Isaac James Kevin Louis Martin Noah Otto Peter Robert "
    "Stefan Thomas"
)
NAMES = WOMEN + MEN

DAYS = {
    "english": split_words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "french": split_words("lundi mardi mercredi jeudi vendredi samedi dimanche"),
    "german": split_words("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag"),
    "spanish": split_words("lunes martes miércoles jueves viernes sábado domingo"),
}
MONTHS = split_words("January February March April May June July August September October November December")
NUMBERS = split_words("two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred")

# English, French with gender, German with gender, Spanish with gender. French nouns begin with a consonant, so that
# their article is never cut to l'.
TRANSLATED = {
    "animal": """dog chien.m Hund.m perro.m|cat chat.m Katze.f gato.m|horse cheval.m Pferd.n caballo.m
cow vache.f Kuh.f vaca.f|fox renard.m Fuchs.m zorro.m|mouse souris.f Maus.f ratón.m
rabbit lapin.m Kaninchen.n conejo.m
bear grizzli.m Bär.m oso.m|wolf loup.m Wolf.m lobo.m|fish poisson.m Fisch.m pez.m|frog grenouille.f Frosch.m rana.f
hen poule.f Henne.f gallina.f|goat chèvre.f Ziege.f cabra.f|lion fauve.m Löwe.m león.m
snake serpent.m Schlange.f serpiente.f
bee mouche.f Biene.f abeja.f|spider tarentule.f Spinne.f araña.f|turtle tortue.f Schildkröte.f tortuga.f""",
    "food": """bread pain.m Brot.n pan.m|cheese fromage.m Käse.m queso.m|milk lait.m Milch.f leche.f
apple pomme.f Apfel.m manzana.f|pear poire.f Birne.f pera.f|soup soupe.f Suppe.f sopa.f
cake gâteau.m Kuchen.m pastel.m
rice riz.m Reis.m arroz.m|salt sel.m Salz.n sal.f|sugar sucre.m Zucker.m azúcar.m|meat viande.f Fleisch.n carne.f
salad salade.f Salat.m ensalada.f|honey miel.m Honig.m miel.f|butter beurre.m Butter.f mantequilla.f
tomato tomate.f Tomate.f tomate.m|potato patate.f Kartoffel.f patata.f|lemon citron.m Zitrone.f limón.m
cherry cerise.f Kirsche.f cereza.f""",
    "place": """house maison.f Haus.n casa.f|garden jardin.m Garten.m jardín.m|kitchen cuisine.f Küche.f cocina.f
forest forêt.f Wald.m bosque.m|bridge pont.m Brücke.f puente.m|street rue.f Straße.f calle.f
station gare.f Bahnhof.m estación.f
beach plage.f Strand.m playa.f|mountain montagne.f Berg.m montaña.f|river rivière.f Fluss.m río.m
farm ferme.f Bauernhof.m granja.f
school lycée.m Schule.f escuela.f|market marché.m Markt.m mercado.m|library bibliothèque.f Bibliothek.f biblioteca.f
museum musée.m Museum.n museo.m|lake lac.m See.m lago.m|tower tour.f Turm.m torre.f
castle château.m Schloss.n castillo.m""",
    "object": """book livre.m Buch.n libro.m|key clé.f Schlüssel.m llave.f|table planche.f Tisch.m mesa.f
chair chaise.f Stuhl.m silla.f|lamp lampe.f Lampe.f lámpara.f|letter lettre.f Brief.m carta.f
box boîte.f Kiste.f caja.f
ball balle.f Ball.m pelota.f|bottle bouteille.f Flasche.f botella.f|cup tasse.f Tasse.f taza.f
clock pendule.f Uhr.f reloj.m
mirror miroir.m Spiegel.m espejo.m|picture photo.f Bild.n foto.f|door porte.f Tür.f puerta.f
window fenêtre.f Fenster.n ventana.f
bed lit.m Bett.n cama.f|plate plat.m Teller.m plato.m|ring bague.f Ring.m anillo.m|coin monnaie.f Münze.f moneda.f
candle bougie.f Kerze.f vela.f""",
    "garment": """hat chapeau.m Hut.m sombrero.m|shirt chemise.f Hemd.n camisa.f|coat manteau.m Mantel.m abrigo.m
skirt jupe.f Rock.m falda.f|shoe soulier.m Schuh.m zapato.m|glove gant.m Handschuh.m guante.m
dress robe.f Kleid.n vestido.m
sock chaussette.f Socke.f calcetín.m""",
    "tool": """hammer marteau.m Hammer.m martillo.m|broom balai.m Besen.m escoba.f|knife couteau.m Messer.n cuchillo.m
rope corde.f Seil.n cuerda.f|shovel pelle.f Schaufel.f pala.f|needle broche.f Nadel.f aguja.f""",
    "vehicle": """car voiture.f Auto.n coche.m|train train.m Zug.m tren.m|boat bateau.m Boot.n barco.m
plane jet.m Flugzeug.n avión.m|bicycle vélo.m Fahrrad.n bicicleta.f|ship navire.m Schiff.n nave.f""",
    "plant": """flower fleur.f Blume.f flor.f|rose rose.f Rose.f rosa.f|grass gazon.m Gras.n hierba.f
mushroom champignon.m Pilz.m seta.f|palm palmier.m Palme.f palmera.f|cactus cactus.m Kaktus.m cacto.m""",
    "instrument": """guitar guitare.f Gitarre.f guitarra.f|drum tambour.m Trommel.f tambor.m
piano piano.m Klavier.n piano.m
flute flûte.f Flöte.f flauta.f|violin violon.m Geige.f violín.m|trumpet trompette.f Trompete.f trompeta.f""",
}

ENGLISH_ONLY = {
    "animal": "pig sheep duck goose owl eagle crow swan tiger zebra camel donkey monkey whale shark crab snail "
    "ant moth "
    "lizard otter beaver badger deer squirrel hedgehog parrot penguin",
    "food": "pie jam egg bean onion carrot cabbage garlic pepper noodle sausage biscuit pancake sandwich "
    "omelette grape "
    "melon peach banana berry walnut almond raisin porridge yogurt chocolate cucumber pumpkin",
    "place": "park shop office hotel church hospital theatre bakery cinema stadium harbour airport field valley island "
    "desert cave village square pool gym prison palace cellar attic hall yard barn cabin temple",
    "object": "bag basket bell blanket bowl brush bucket camera card carpet chain comb cabinet curtain cushion "
    "drawer fan "
    "fork glass globe jar jug kettle kite ladder lock magnet map medal mug napkin newspaper notebook oven parcel pen "
    "pencil phone pillow pipe poster purse radio ribbon shelf spoon stamp statue stool stove ticket towel toy tray "
    "umbrella vase wallet watch whistle",
    "garment": "scarf jacket belt boot sweater blouse apron vest sandal cap robe suit cloak uniform",
    "tool": "drill wrench axe rake chisel pliers nail screw spade hoe crowbar tweezer plough anvil",
    "vehicle": "bus truck tram taxi van wagon ferry tractor scooter sledge canoe rocket carriage yacht",
    "plant": "tulip daisy oak pine fern ivy lily bush moss willow birch maple orchid clover",
    "instrument": "harp cello banjo organ tuba clarinet bugle lute oboe accordion",
    "job": "teacher doctor baker farmer painter singer nurse lawyer judge pilot sailor soldier writer actor "
    "dancer cook "
    "driver tailor butcher barber miner fisher hunter weaver potter gardener plumber carpenter dentist engineer clerk "
    "banker poet waiter guard mayor priest scientist surgeon editor",
}
IRREGULAR_PLURALS = {
    "mouse": "mice",
    "wolf": "wolves",
    "fish": "fishes",
    "sheep": "sheep",
    "goose": "geese",
    "deer": "deer",
    "knife": "knives",
    "scarf": "scarves",
    "shelf": "shelves",
    "pliers": "pliers",
    "loaf": "loaves",
    "cactus": "cacti",
}

# English: French masculine and feminine, German, Spanish masculine and feminine. Colours of the same make.
ADJECTIVES = {
    "small": "petit petite klein pequeño pequeña",
    "big": "grand grande groß grande grande",
    "old": "ancien ancienne alt viejo vieja",
    "new": "neuf neuve neu nuevo nueva",
    "good": "bon bonne gut bueno buena",
    "bad": "mauvais mauvaise schlecht malo mala",
    "beautiful": "beau belle schön bonito bonita",
    "long": "long longue lang largo larga",
    "cold": "froid froide kalt frío fría",
    "hot": "chaud chaude heiß caliente caliente",
    "clean": "propre propre sauber limpio limpia",
    "dirty": "sale sale schmutzig sucio sucia",
    "strong": "fort forte stark fuerte fuerte",
    "heavy": "lourd lourde schwer pesado pesada",
    "light": "léger légère leicht ligero ligera",
    "expensive": "cher chère teuer caro cara",
}
MOODS = {
    "tired": "fatigué fatiguée müde cansado cansada",
    "happy": "content contente froh contento contenta",
    "sad": "triste triste traurig triste triste",
    "ill": "malade malade krank enfermo enferma",
    "ready": "prêt prête bereit listo lista",
}
COLOURS = {
    "red": "rouge rouge rot rojo roja",
    "blue": "bleu bleue blau azul azul",
    "green": "vert verte grün verde verde",
    "white": "blanc blanche weiß blanco blanca",
    "black": "noir noire schwarz negro negra",
    "yellow": "jaune jaune gelb amarillo amarilla",
    "brown": "brun brune braun marrón marrón",
    "grey": "gris grise grau gris gris",
    "violet": "violet violette lila morado morada",
}
OTHER_COLOURS = split_words("pink golden silver purple scarlet crimson beige turquoise")
OTHER_ADJECTIVES = split_words(
    "young tall short thin thick round flat soft hard wet dry quiet loud bright dark slow quick sharp smooth "
    "rough empty "
    "full cheap rich poor kind cruel brave shy proud lazy busy calm angry clever foolish gentle honest hungry thirsty "
    "lonely lucky noisy polite rude rare sweet sour bitter salty fresh strange simple useful broken hidden "
    "famous secret "
    "wooden narrow wide deep shallow steep modern ancient holy sleepy careful nervous curious friendly"
)

REGULAR_VERBS = split_words(
    "walk look help clean open close push pull carry paint bake repair visit call follow thank answer ask "
    "want need like love hate enjoy play work rest wait talk shout whisper laugh smile jump dance climb sail travel "
    "return arrive move lift drop pack wash fix mend collect count measure check borrow sort polish "
    "remember notice touch kick roll share order admire examine describe name mention discover"
)
IRREGULAR_VERBS = {
    "go": "goes went",
    "see": "sees saw",
    "buy": "buys bought",
    "bring": "brings brought",
    "give": "gives gave",
    "take": "takes took",
    "find": "finds found",
    "lose": "loses lost",
    "sell": "sells sold",
    "make": "makes made",
    "eat": "eats ate",
    "drink": "drinks drank",
    "sing": "sings sang",
    "run": "runs ran",
    "sleep": "sleeps slept",
    "read": "reads read",
    "write": "writes wrote",
    "draw": "draws drew",
    "hide": "hides hid",
    "keep": "keeps kept",
    "leave": "leaves left",
    "hold": "holds held",
    "throw": "throws threw",
    "catch": "catches caught",
    "swim": "swims swam",
    "build": "builds built",
    "send": "sends sent",
    "steal": "steals stole",
    "choose": "chooses chose",
    "wear": "wears wore",
    "fall": "falls fell",
    "sit": "sits sat",
    "stand": "stands stood",
    "meet": "meets met",
    "feel": "feels felt",
}

# Verbs with one object, for the sentence said in four languages: third person singular.
SAID = {
    "sees": "voit sieht ve",
    "has": "a hat tiene",
    "wants": "veut will quiere",
    "finds": "trouve findet encuentra",
    "loves": "adore liebt ama",
    "buys": "achète kauft compra",
    "sells": "vend verkauft vende",
    "takes": "prend nimmt toma",
    "shows": "montre zeigt muestra",
    "needs": "cherche braucht necesita",
    "brings": "porte bringt trae",
    "paints": "peint malt pinta",
}

FUNCTION = {
    "article": "a an the",
    "conjunction": "and or but because so when while before after that if than as then although until since",
    "preposition": "to of in on at near with from by behind beside under over for into until about among "
    "between since after before around as",
    "pronoun": "it they them this these those that who which what there here we you i us our your their its "
    "him his himself herself",
}
FUNCTION_ABROAD = {
    "french": {
        "article": "le la un une les",
        "preposition": "dans de à avec pour",
        "conjunction": "et mais ou",
        "pronoun": "il elle je c ce cette voici",
    },
    "german": {
        "article": "der die das ein eine einen den dem",
        "preposition": "in mit für auf",
        "conjunction": "und aber oder",
        "pronoun": "er sie es ich hier dieser diese dieses",
    },
    "spanish": {
        "article": "el la un una los",
        "preposition": "en de con para",
        "conjunction": "y pero o",
        "pronoun": "él ella yo aquí este esta",
    },
}

SYLLABLES = split_words("zor mip tal vek dax lum fep gri nup bok wug quo pim zat rel hox jiv sna tef kub")


@dataclass(frozen=True)
class Noun:
    """Hold a noun: its class, English forms, and word and gender in the other languages (empty where it has none)."""

    word: str
    plural: str
    kind: str
    abroad: tuple[tuple[str, str, str], ...] = ()

    def in_language(self, language: str) -> tuple[str, str]:
        """Return its word and gender (m, f, n; empty in English) in a language."""
        if language == "english":
            return self.word, ""
        return next((word, gender) for spoken, word, gender in self.abroad if spoken == language)


def plural_of(word: str) -> str:
    """Return an English noun's plural."""
    if word in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[word]
    if word.endswith(("s", "x", "ch", "sh")) or word in ("potato", "tomato"):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeiou" else word + "s"


@cache
def nouns(kind: str | None = None) -> tuple[Noun, ...]:
    """List nouns of one class, or all."""
    listed = []
    for name, rows in TRANSLATED.items():
        for row in rows.replace("\n", "|").split("|"):
            word, *others = row.split()
            abroad = tuple((language, *said.split(".")) for language, said in zip(LANGUAGES[1:], others, strict=True))
            listed.append(Noun(word, plural_of(word), name, abroad))  # type: ignore[arg-type]
    for name, words in ENGLISH_ONLY.items():
        listed += [Noun(word, plural_of(word), name) for word in words.split()]
    return tuple(noun for noun in listed if kind is None or noun.kind == kind)


@cache
def translated_nouns() -> tuple[Noun, ...]:
    """List the nouns that have a word in every language."""
    return tuple(noun for noun in nouns() if noun.abroad)


@cache
def colours() -> tuple[str, ...]:
    """List the colours in English."""
    return (*COLOURS, *OTHER_COLOURS)


def adjective(word: str, language: str, gender: str) -> str:
    """Return an adjective, mood or colour in a language, in the form that agrees with a gender (m, f, n).

    Returns:
        str: the inflected word.
    """
    french_m, french_f, german, spanish_m, spanish_f = (ADJECTIVES | MOODS | COLOURS)[word].split()
    return {
        "english": word,
        "french": french_f if gender == "f" else french_m,
        "german": german,
        "spanish": spanish_f if gender == "f" else spanish_m,
    }[language]


@cache
def verb_forms(verb: str) -> tuple[str, str]:
    """Return an English verb's third person singular and past."""
    if verb in IRREGULAR_VERBS:
        third, past = IRREGULAR_VERBS[verb].split()
        return third, past
    third = plural_of(verb)
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return third, verb[:-1] + "ied"
    if verb in ("drop", "plan"):
        return third, verb + verb[-1] + "ed"
    return third, verb + ("d" if verb.endswith("e") else "ed")
