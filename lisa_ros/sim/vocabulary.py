"""What is known about each class of object: its names, its use, and what it may be mistaken for.

Facts about what an object is good for stand in `lisa_ros.sim.needs`.
"""

from __future__ import annotations

from dataclasses import dataclass

from lisa_ros.sim.nouns import Noun


@dataclass(frozen=True)
class ClassFacts:
    """What is known about a class.

    Attributes:
        noun: its name, as answers use it.
        synonyms: other names, for questions; no two classes share one.
        held_out_synonyms: more of them, kept for testing.
        facts: sentences that are true of every object of the class.
        look_alikes: classes that somebody may call by this name; where one of them is in
            view, nobody is told that this class is absent.
    """

    noun: Noun
    synonyms: tuple[Noun, ...]
    held_out_synonyms: tuple[Noun, ...]
    facts: tuple[str, ...]
    look_alikes: tuple[str, ...] = ()


def _facts(name: str, synonyms: str, facts: str, look_alikes: str = "") -> ClassFacts:
    """`synonyms`: "a; b || kept for testing"; `facts`: sentences."""
    train, _, test = synonyms.partition("||")
    return ClassFacts(
        noun=Noun.parse(name),
        synonyms=tuple(Noun.parse(part) for part in _parts(train)),
        held_out_synonyms=tuple(Noun.parse(part) for part in _parts(test)),
        facts=tuple(f"{fact.strip()}." for fact in facts.split(".") if fact.strip()),
        look_alikes=_parts(look_alikes),
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


_TABLE = (
    # Electronics
    _facts(
        "tv remote",
        "remote control; remote; TV remote control; television remote; TV controller;"
        " clicker || channel changer; TV clicker",
        "A tv remote switches the channel from the sofa. A tv remote has many small buttons.",
    ),
    _facts(
        "game controller",
        "gamepad; joystick; video game controller; game pad; controller for video games"
        " || joypad; console controller",
        "A game controller steers a video game. A game controller is held with both hands.",
    ),
    _facts(
        "laptop",
        "computer; notebook computer; laptop computer; portable computer || PC; notebook PC",
        "A laptop is a computer with a screen and a keyboard. A laptop can be folded shut.",
        "tablet",
    ),
    _facts(
        "tablet",
        "tablet computer; touch pad; tablet PC; screen tablet || touch tablet",
        "A tablet is a flat computer with a touch screen. A tablet has a large touch screen.",
        "phone; laptop; book",
    ),
    _facts(
        "phone",
        "smartphone; mobile phone; cell phone; mobile; telephone || cellphone; handset",
        "A phone connects you with other people. A phone rings when somebody calls.",
        "tablet",
    ),
    _facts(
        "camera",
        "photo camera; digital camera; picture camera || photo apparatus",
        "A camera takes pictures. A camera has a lens at the front.",
    ),
    _facts(
        "headphones+",
        "headset; earphones+; pair of headphones; head phones+ || music headset",
        "Headphones play sound close to the ears. Headphones are worn on the head.",
    ),
    _facts(
        "watch",
        "wristwatch; wrist watch; hand watch || arm watch",
        "A watch is worn on the wrist. A watch shows the time.",
        "clock",
    ),
    _facts(
        "clock",
        "alarm clock; table clock; desk clock || bedside clock",
        "A clock shows the time. A clock has an hour hand and a minute hand.",
        "watch",
    ),
    _facts(
        "battery",
        "power cell; battery cell; small battery || electric cell",
        "A battery stores electric energy. A battery has a plus and a minus pole.",
    ),
    _facts(
        "flashlight",
        "torch; hand lamp; pocket lamp; torch light || pocket torch",
        "A flashlight makes a beam of light. A flashlight helps in the dark.",
    ),
    # Workshop and desk
    _facts(
        "hammer",
        "claw hammer; nail hammer; steel hammer || carpenter's hammer",
        "A hammer drives nails. A hammer has a heavy head.",
    ),
    _facts(
        "screwdriver",
        "screw driver; tool for screws || driver for screws",
        "A screwdriver turns screws. A screwdriver has a handle and a thin metal tip.",
    ),
    _facts(
        "drill",
        "power drill; electric drill; drilling machine; cordless drill || drill machine",
        "A drill makes holes. A drill turns a bit very fast.",
    ),
    _facts(
        "pliers+",
        "pair of pliers; pincers+; tongs+ || nippers+",
        "Pliers grip small things. Pliers have two handles.",
        "scissors",
    ),
    _facts(
        "saw",
        "hand saw; handsaw; wood saw || tree saw",
        "A saw cuts wood. A saw has a blade with many teeth.",
    ),
    _facts(
        "tape measure",
        "measuring tape; tape ruler; roll-up ruler || measure tape",
        "A tape measure measures lengths. A tape measure can be pulled out and rolled up again.",
        "tape; ruler",
    ),
    _facts(
        "ruler",
        "measuring stick; straight edge; desk ruler || measuring ruler",
        "A ruler measures short lengths. A ruler helps to draw straight lines.",
        "tape measure",
    ),
    _facts(
        "tape~",
        "adhesive tape~; sticky tape~; roll of tape; scotch tape~ || packing tape~; tape roll",
        "Tape sticks things together. Tape comes on a roll.",
        "tape measure",
    ),
    _facts(
        "stapler",
        "paper stapler; staple machine; office stapler || stapling tool",
        "A stapler fastens sheets of paper. A stapler is loaded with small metal staples.",
    ),
    _facts(
        "scissors+",
        "pair of scissors; shears+; paper scissors+ || cutting shears+",
        "Scissors cut paper and cloth. Scissors have two blades.",
        "pliers",
    ),
    _facts(
        "pencil",
        "pen; writing pencil; pencil for notes || drawing pencil",
        "A pencil writes and draws. A pencil has a thin tip.",
        "marker",
    ),
    _facts(
        "marker",
        "marker pen; felt pen; felt-tip pen || text marker",
        "A marker draws thick lines. A marker has a tip of felt.",
        "pencil",
    ),
    _facts(
        "book",
        "novel; story book; reading book || volume",
        "A book has many pages. A book is there to be read.",
        "tablet",
    ),
    _facts(
        "keys+",
        "bunch of keys; key ring; door keys+; house keys+ || set of keys; keyring",
        "Keys open locks. Keys are often lost.",
    ),
    _facts(
        "padlock",
        "lock; bike lock; pad lock || hanging lock",
        "A padlock keeps things locked. A padlock opens with the right key or code.",
    ),
    # Food and kitchen
    _facts(
        "milk~",
        "milk carton; carton of milk; box of milk; milk pack || pack of milk; milk box",
        "Milk is rich in calcium. Milk is kept in the fridge.",
    ),
    _facts(
        "bread~",
        "loaf of bread; bread loaf; loaf || baked loaf",
        "Bread is made of flour. Bread is eaten for breakfast.",
        "hamburger; hot dog",
    ),
    _facts(
        "hamburger",
        "burger; cheeseburger; beef burger || beefburger",
        "A hamburger is fast food in a bun. A hamburger is a quick meal.",
        "hot dog; bread",
    ),
    _facts(
        "hot dog",
        "hotdog; sausage in a bun; frankfurter || sausage bun",
        "A hot dog is a sausage in a bun. A hot dog is a quick meal.",
        "hamburger; bread",
    ),
    _facts(
        "cupcake",
        "muffin; little cake; cup cake || small cake",
        "A cupcake is a small sweet cake. A cupcake is a dessert.",
    ),
    _facts(
        "apple",
        "crunchy apple; ripe apple; fresh apple || juicy apple",
        "An apple is a crunchy fruit. An apple grows on a tree.",
    ),
    _facts(
        "banana",
        "ripe banana; sweet banana; curved fruit || fresh banana",
        "A banana is a soft sweet fruit. A banana has to be peeled.",
    ),
    _facts(
        "orange",
        "orange fruit; juicy orange; ripe orange || fresh orange",
        "An orange is rich in vitamin C. An orange is a juicy fruit.",
    ),
    _facts(
        "lemon",
        "sour fruit; lemon fruit; ripe lemon || fresh lemon",
        "A lemon tastes sour. A lemon is rich in vitamin C.",
    ),
    _facts(
        "can",
        "soda can; drink can; tin can; metal can; tin || beverage can",
        "A can is made of metal. A can keeps a drink or food fresh.",
    ),
    _facts(
        "mug",
        "cup; coffee mug; coffee cup; tea cup || teacup; drinking mug",
        "A mug holds a hot drink. A mug has a handle.",
        "glass; bowl",
    ),
    _facts(
        "glass",
        "drinking glass; water glass; glass for water || tumbler; juice glass",
        "A glass holds a drink. A glass breaks when it falls.",
        "mug; vase",
    ),
    _facts(
        "plate",
        "dinner plate; flat plate; food plate || serving plate",
        "A plate holds food. A plate is flat.",
        "bowl",
    ),
    _facts(
        "bowl",
        "soup bowl; salad bowl; cereal bowl || mixing bowl",
        "A bowl holds soup or cereal. A bowl is round and deep.",
        "plate; mug",
    ),
    _facts(
        "fork",
        "dinner fork; eating fork; table fork || salad fork",
        "A fork picks up food. A fork has several prongs.",
    ),
    _facts(
        "knife",
        "kitchen knife; cutting knife; table knife || dinner knife",
        "A knife cuts food. A knife has a sharp blade.",
    ),
    _facts(
        "spoon",
        "soup spoon; table spoon; tea spoon || eating spoon",
        "A spoon is used to eat soup. A spoon can stir a drink.",
    ),
    _facts(
        "teapot",
        "tea pot; pot for tea; tea kettle || pot of tea",
        "A teapot is used to brew tea. A teapot has a spout and a handle.",
    ),
    _facts(
        "wine bottle",
        "bottle of wine; wine~ || bottle with wine",
        "A wine bottle is made of glass. A wine bottle is opened for a dinner with guests.",
    ),
    _facts(
        "salt shaker",
        "salt~; salt cellar; shaker of salt || salt pot",
        "A salt shaker seasons food. A salt shaker has small holes at the top.",
    ),
    _facts(
        "toaster",
        "toasting machine; bread toaster; toast maker || toast machine",
        "A toaster browns slices of bread. A toaster gets hot inside.",
    ),
    # Person and home
    _facts(
        "medicine bottle",
        "medicine~; pill bottle; bottle of pills; pills+ || bottle of medicine; jar of pills",
        "A medicine bottle holds pills. Medicine is kept away from children.",
    ),
    _facts(
        "thermometer",
        "room thermometer; temperature meter; digital thermometer || indoor thermometer",
        "A thermometer measures the temperature. A thermometer shows how warm it is.",
    ),
    _facts(
        "sunglasses+",
        "sun glasses+; shades+; pair of sunglasses; dark glasses+ || tinted glasses+",
        "Sunglasses protect the eyes from the sun. Sunglasses have dark lenses.",
    ),
    _facts(
        "umbrella",
        "rain umbrella; rain shield; brolly || umbrella for the rain",
        "An umbrella keeps the rain off. An umbrella can be folded.",
    ),
    _facts(
        "cap",
        "baseball cap; hat; sports cap || sun hat; peaked cap",
        "A cap shades the face. A cap is worn on the head.",
        "helmet",
    ),
    _facts(
        "helmet",
        "motorcycle helmet; motorbike helmet; safety helmet; racing helmet || crash helmet",
        "A helmet protects the head. A helmet is worn on a motorbike.",
        "cap",
    ),
    _facts(
        "glove",
        "hand glove; work glove; finger glove || warm glove",
        "A glove protects the hand. A glove has room for five fingers.",
    ),
    _facts(
        "shoe",
        "street shoe; footwear~; piece of footwear || walking shoe",
        "A shoe protects the foot. A shoe is worn for walking.",
    ),
    _facts(
        "comb",
        "hair comb; pocket comb; plastic comb || styling comb",
        "A comb tidies hair. A comb has a row of fine teeth.",
        "hairbrush",
    ),
    _facts(
        "hairbrush",
        "hair brush; brush; brush for hair || styling brush",
        "A hairbrush tidies hair. A hairbrush has many bristles.",
        "comb",
    ),
    _facts(
        "lipstick",
        "lip stick; lip colour; make-up stick || lip paint",
        "A lipstick colours the lips. A lipstick is make-up.",
    ),
    _facts(
        "soap~",
        "bar of soap; hand soap~; piece of soap || soap bar",
        "Soap cleans the hands. Soap makes foam with water.",
    ),
    _facts(
        "sponge",
        "kitchen sponge; cleaning sponge; dish sponge || washing sponge",
        "A sponge soaks up water. A sponge is used to wash the dishes.",
    ),
    _facts(
        "spray bottle",
        "cleaning spray; spray; window cleaner; bottle of cleaner || sprayer",
        "A spray bottle sprays a fine mist. A spray bottle has a trigger.",
    ),
    _facts(
        "toilet paper~",
        "roll of toilet paper; toilet roll; bathroom tissue || loo paper~",
        "Toilet paper belongs in the bathroom. Toilet paper comes on a roll.",
    ),
    _facts(
        "candle",
        "wax candle; wax light; candle light || burning candle",
        "A candle gives a warm light. A candle is made of wax.",
    ),
    _facts(
        "vase",
        "flower vase; vase for flowers; flower holder || vase for roses",
        "A vase holds flowers. A vase is made to hold water.",
        "glass",
    ),
    _facts(
        "cactus",
        "potted plant; plant; cactus plant; house plant || pot plant",
        "A cactus is a living plant. A cactus needs little water.",
    ),
    _facts(
        "gift",
        "present; gift box; wrapped box; wrapped present || surprise box",
        "A gift makes somebody happy. A gift is wrapped and has to be opened.",
    ),
    # Play
    _facts(
        "teddy bear",
        "teddy; stuffed bear; toy bear; plush bear || cuddly bear",
        "A teddy bear is soft and cuddly. A teddy bear is a toy for small children.",
    ),
    _facts(
        "toy car",
        "model car; little car; toy vehicle; car || miniature car",
        "A toy car rolls on four wheels. A toy car is a toy for children.",
    ),
    _facts(
        "puzzle cube",
        "magic cube; twisty puzzle; colour cube || cube puzzle",
        "A puzzle cube is a puzzle with coloured sides. The sides of a puzzle cube can be turned.",
        "dice",
    ),
    _facts(
        "dice",
        "die; game dice; playing dice || gaming die",
        "Dice are thrown in board games. Dice have dots on each side.",
        "puzzle cube",
    ),
    _facts(
        "soccer ball",
        "football; ball for soccer; kick ball || leather ball",
        "A soccer ball is kicked with the foot. A soccer ball is used in a team sport.",
        "tennis ball",
    ),
    _facts(
        "tennis ball",
        "ball for tennis; small ball; racket ball || felt ball",
        "A tennis ball is hit with a racket. A tennis ball bounces well.",
        "soccer ball",
    ),
)

CLASS_FACTS: dict[str, ClassFacts] = {facts.noun.text: facts for facts in _TABLE}


def facts_of(class_name: str) -> ClassFacts:
    """The facts of a class.

    Raises:
        KeyError: no facts are known for it.
    """
    try:
        return CLASS_FACTS[class_name]
    except KeyError:
        raise KeyError(
            f"no facts about the class {class_name!r}; expected one of {sorted(CLASS_FACTS)};"
            " add it to the table in lisa_ros/sim/vocabulary.py"
        ) from None
