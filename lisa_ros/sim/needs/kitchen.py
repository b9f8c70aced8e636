"""Needs around food and drink."""

from __future__ import annotations

from lisa_ros.sim.needs.need import Need, need

KITCHEN: tuple[Need, ...] = (
    need(
        "drink",
        serves="milk; can; mug; glass",
        debatable="wine bottle; teapot; orange; lemon; apple; bowl; vase; spray bottle",
        refusal="There is nothing to drink here.",
        reason="{A} can help against thirst.",
        do="drink something; have a drink; quench my thirst; take a sip; drink; get a drink ||"
        " still my thirst; have a sip",
        thing="something to drink; a drink; something for my thirst; something against thirst ||"
        " something for a dry mouth",
        say="I am thirsty; I'm so thirsty; my mouth is dry; my throat is dry; I need a drink;"
        " it is hot and I have not had a drink all day || I have been running and I am"
        " thirsty now; my throat feels so dry",
    ),
    need(
        "coffee",
        serves="mug",
        debatable="glass; bowl; teapot; can; vase; plate; spoon; milk",
        refusal="There is nothing to drink coffee from here.",
        reason="{A} can hold a hot drink.",
        do="warm my hands on a hot coffee; drink a hot cocoa; drink coffee; have a hot coffee;"
        " drink hot chocolate; pour myself a coffee; have a cup of coffee || drink my"
        " morning coffee; have some hot coffee",
        thing="something to drink cocoa from; something for my hot coffee; something to drink"
        " coffee from; something with a handle for a hot drink || something to pour hot"
        " coffee into",
        say="coffee time; I am tired and need coffee; the coffee is ready; it is time for a"
        " coffee; I want my coffee || my hot coffee is ready to pour",
    ),
    need(
        "vitamin c",
        serves="orange; lemon",
        debatable="apple; banana; medicine bottle; can; milk; hamburger; hot dog",
        refusal="There is nothing rich in vitamin C here.",
        reason="You get much vitamin C from {a}.",
        do="get more vitamin C; eat vitamins; take some vitamin C; press some juice; make"
        " fresh juice; fight a cold with vitamin C || have a dose of vitamin C; squeeze a"
        " fresh juice",
        thing="something rich in vitamin C; something with a lot of vitamin C; a citrus fruit;"
        " something full of vitamins; food with vitamin C || a fruit with lots of vitamin C;"
        " some healthy vitamin C",
        say="I have a cold and need vitamins; my body lacks vitamin C; what is rich in vitamin"
        " C here || I lack vitamin C; the doctor wants me to get more vitamin C",
    ),
    need(
        "sour",
        serves="lemon",
        debatable="orange; apple; milk; can; wine bottle; medicine bottle",
        refusal="There is nothing sour here.",
        reason="{A} tastes sour.",
        do="taste something sour; make the fish taste sour; eat something sour; add a sour"
        " taste to my tea || give my tea a sour taste",
        thing="something sour; something that tastes sour; a sour fruit; something acid; a sour"
        " taste || the thing with the most sour taste; something very sour",
        say="I like sour things; the tea needs something sour; sour food makes me happy || the"
        " fish should taste more sour",
    ),
    need(
        "fruit",
        serves="apple; banana; orange; lemon",
        refusal="There is no fruit here.",
        reason="{A} can be eaten as a fruit.",
        do="eat fruit; make a fruit salad; have some fruit; eat a piece of fruit || prepare a"
        " salad of fruit",
        thing="a fruit; a piece of fruit; fruit; something that grows on a tree or a bush; some"
        " fresh fruit || something fresh that grew on a tree",
        say="I should eat more fruit; fruit is good for me; I feel like fruit || a fresh piece"
        " of fruit would be good now",
    ),
    need(
        "something sweet",
        serves="cupcake",
        debatable="banana; apple; orange; can; bread; milk; gift; medicine bottle",
        refusal="There is nothing sweet for dessert here.",
        reason="{A} can be a sweet dessert.",
        do="eat dessert; have something sweet; eat cake; enjoy a sweet snack; enjoy a dessert"
        " || have a piece of sweet cake; finish dinner with a dessert",
        thing="something sweet; a dessert; a piece of cake; a sweet snack; a treat with sugar ||"
        " a sweet dessert; a small treat after dinner",
        say="I have a sweet tooth; I feel like cake; it is time for dessert; I want sugar || I"
        " feel like something sweet after lunch",
    ),
    need(
        "fast food",
        serves="hamburger; hot dog",
        debatable="bread; cupcake; can; apple; banana; orange; toaster; milk",
        refusal="There is no fast food here.",
        reason="{A} can be a quick meal with meat.",
        do="eat fast food; have a quick lunch with meat; eat meat in a bun; have a quick meal;"
        " eat some meat || have meat for lunch",
        thing="fast food; a quick lunch; a meal with meat; something with meat; a warm snack ||"
        " some quick food with meat",
        say="I feel like fast food; I want meat for lunch; I like American food || I am in a"
        " hurry and want fast food",
    ),
    need(
        "food",
        serves="bread; hamburger; hot dog; cupcake; apple; banana; orange",
        debatable="lemon; can; milk; toaster; gift; bowl; plate",
        refusal="There is nothing to eat here.",
        reason="{A} can be eaten.",
        do="eat something; have a snack; eat; take a bite; eat a little; fill my stomach ||"
        " get some food; have a bite to eat",
        thing="something to eat; food; a snack; something for my empty stomach; some food ||"
        " something for a hungry person",
        say="I am hungry; my stomach is empty; I have not eaten yet; I'm so hungry; I want to"
        " eat || I have had no breakfast and I am hungry; my stomach feels empty",
    ),
    need(
        "toast",
        serves="toaster",
        debatable="bread; knife; plate",
        refusal="There is nothing to make toast with here.",
        reason="You can make toast with {a}.",
        do="make toast; toast a slice for breakfast; warm up a slice; make a hot crisp"
        " breakfast; brown a few slices || make some hot toast; make crisp slices for"
        " breakfast",
        thing="something that makes toast; a machine for breakfast; something to make toast with;"
        " an appliance with two slots || a machine that makes crisp slices",
        say="I like toast in the morning; I want toast for breakfast; the slices should be"
        " crisp || crisp toast would be a good breakfast",
    ),
    need(
        "sandwich",
        serves="bread",
        debatable="hamburger; hot dog; knife; toaster; plate",
        refusal="There is nothing to make a sandwich from here.",
        reason="You can make a sandwich from {a}.",
        do="make a ham sandwich; bake a cheese toastie; make a sandwich; feed the ducks;"
        " prepare sandwiches; make a cheese sandwich || make sandwiches for the trip",
        thing="something to put ham and cheese on; something from the bakery; something to make"
        " sandwiches from; something made of flour for sandwiches || a bakery product for my"
        " sandwich",
        say="I pack my lunch and want a sandwich; I want a sandwich; we need something for the"
        " sandwiches; I like cheese sandwiches || the bakery sells this and I make"
        " sandwiches from it",
    ),
    need(
        "soup",
        serves="spoon",
        debatable="bowl; mug; plate; fork; can; glass",
        refusal="There is nothing to eat soup with here.",
        reason="You can eat soup with {a}.",
        do="eat soup; eat yoghurt; stir my tea; stir the sauce; eat ice cream; stir sugar into"
        " my coffee || eat hot soup; stir the soup",
        thing="something to eat soup with; something to stir with; something to eat yoghurt with"
        " || something to stir my tea with",
        say="the soup is ready and I want to eat it; I cannot eat soup with my hands; my coffee"
        " needs a stir || how do I eat this hot soup",
    ),
    need(
        "steak",
        serves="fork; knife",
        debatable="plate; spoon; scissors; saw",
        refusal="There is nothing to eat a steak with here.",
        reason="You can eat a steak with {a}.",
        do="eat a pork chop; eat the roast; eat a steak; eat a schnitzel; eat roast meat at"
        " the table; eat my steak politely || eat a big steak",
        thing="something to eat a pork chop with; something to eat a steak with; cutlery for my"
        " steak; cutlery for meat || cutlery for a big steak",
        say="the roast meat is on the table; the meat is served; my steak is ready and I want"
        " to eat it; I cannot eat a steak with my hands || I do not want to eat this steak"
        " with my hands",
    ),
    need(
        "pasta",
        serves="fork",
        debatable="spoon; plate; bowl; knife",
        refusal="There is nothing to eat pasta with here.",
        reason="You can eat pasta with {a}.",
        do="eat pasta; eat spaghetti; eat noodles; eat salad; pick up noodles; spear a potato"
        " || eat a salad with noodles; pick up spaghetti",
        thing="something to eat pasta with; something with prongs; something to eat salad with;"
        " something to spear food with || something with prongs for my noodles",
        say="the spaghetti is ready; I cannot eat pasta with my hands; my salad is ready to eat"
        " || the noodles are ready and I want to eat",
    ),
    need(
        "cut food",
        serves="knife",
        debatable="scissors; saw; fork",
        refusal="There is nothing to cut food with here.",
        reason="You can cut food with {a}.",
        do="cut food; slice a tomato; chop vegetables; chop some carrots; cut cheese; peel a"
        " potato; spread butter; cut the cake; slice the ham || slice the cheese; chop a"
        " tomato; cut vegetables",
        thing="something to cut food with; something to slice a tomato with; something to chop"
        " vegetables with; something to spread butter with || something to slice vegetables"
        " with; something to peel a potato with",
        say="the vegetables must be chopped; the tomato has to be sliced; the cake must be cut"
        " || the cheese has to be sliced",
    ),
    need(
        "serve food",
        serves="plate",
        debatable="bowl; cap; book",
        refusal="There is nothing to serve food on here.",
        reason="You can serve food on {a}.",
        do="serve dinner on something flat; serve a slice of pizza; put my food down;"
        " serve a steak; serve my pizza || serve pizza for dinner",
        thing="something flat to put my food on; something to serve pizza on; a dish for my steak"
        " || something flat to serve dinner on",
        say="where can I put my slice of pizza; dinner is ready to serve; the pizza must not"
        " lie on the table; I have no dish for my pizza || the pizza is ready and has to be"
        " served",
    ),
    need(
        "hold soup",
        serves="bowl",
        debatable="plate; mug; glass; vase; teapot; spoon; fork; milk; can; helmet; cap",
        refusal="There is nothing to put soup or cereal in here.",
        reason="{A} can hold soup or cereal.",
        do="serve soup; mix a salad; serve cereal; pour out the soup; beat some eggs; mix cake"
        " dough || serve a salad; mix eggs and flour",
        thing="something to put my cereal in; a dish for soup; something deep for a salad;"
        " something to mix dough in || a deep dish for my cereal",
        say="I have no dish for my soup; the soup needs a dish; the salad needs a deep dish ||"
        " where can I pour the soup and the cereal",
    ),
    need(
        "tea",
        serves="teapot",
        debatable="mug; glass; can; wine bottle; milk; bowl",
        refusal="There is nothing to pour tea from here.",
        reason="You can pour tea from {a}.",
        do="pour tea; brew tea; make tea for four guests; serve tea to my guests; make green"
        " tea || brew some green tea; make tea for my guests",
        thing="something to brew tea in; something with a spout; something to pour tea from;"
        " something for tea time || something with a spout for tea",
        say="the guests would like tea; it is tea time; I want to offer tea || my guests like"
        " green tea",
    ),
    need(
        "wine",
        serves="wine bottle",
        debatable="can; glass; gift; candle; mug",
        refusal="There is no wine or other alcohol here.",
        reason="{A} holds wine for a festive evening.",
        do="drink alcohol; open something fine for the dinner guests; offer an alcoholic"
        " drink; use a corkscrew; drink to our wedding || offer alcohol to my guests",
        thing="an alcoholic drink; something with alcohol; something made from grapes; a drink"
        " for adults only || a drink with alcohol; a drink made from grapes",
        say="only adults may drink this; it needs a corkscrew; this was made from grapes || you"
        " need a corkscrew to open this drink",
    ),
    need(
        "calcium",
        serves="milk",
        debatable="hamburger; cupcake; medicine bottle; can; orange; bread; mug; glass; bowl",
        refusal="There is nothing rich in calcium here.",
        reason="You get much calcium from {a}.",
        do="get more calcium; drink something that comes from a cow; strengthen my bones; pour"
        " something over my cereal || strengthen my bones with calcium",
        thing="something rich in calcium; a dairy product; something from a cow; something white"
        " to drink; something good for my bones || a dairy product with calcium; a white"
        " drink from a cow",
        say="my bones need calcium; the kitten is thirsty; a cow gives this; my cereal is too"
        " dry || the doctor says that my bones need calcium",
    ),
    need(
        "salt",
        serves="salt shaker",
        debatable="lemon; can; spray bottle",
        refusal="There is nothing to season food with here.",
        reason="You can season food with {a}.",
        do="season the food; season my soup; add some flavour to the eggs; spice up the dish;"
        " make the soup taste stronger || season the eggs; add flavour to my dish",
        thing="something to season food with; a seasoning; something to add flavour; something"
        " for my tasteless soup || a seasoning for my eggs",
        say="the soup tastes of nothing; my eggs have no flavour; this dish is tasteless || my"
        " soup has no flavour at all; the eggs taste of nothing",
    ),
    need(
        "monkey",
        serves="banana",
        debatable="apple; orange; lemon; bread; cupcake",
        refusal="There is nothing that a monkey likes best here.",
        reason="Monkeys like {a} best.",
        do="give a treat to a monkey; visit the monkey in the zoo with some food; feed the"
        " monkey; make a monkey happy; surprise a monkey with its favourite food; train a"
        " monkey || give the monkey its favourite food",
        thing="a treat for a monkey; something a gorilla likes to eat; the favourite food of a"
        " monkey; something a monkey likes; a snack for a monkey || food that makes a monkey"
        " happy",
        say="the monkey in the zoo looks hungry; the monkey is hungry; the monkey wants its"
        " favourite food; what do monkeys like to eat || a monkey wants to eat now",
    ),
)
