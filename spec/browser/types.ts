// What a TypeScript user writes. Each @ts-expect-error is a line that the types must refuse.
import Default, { Weft, WeftError, type Presence, type Room } from "../../lua/weft/browser/weft.js";

interface Line { name: string; text: string }
interface Welcome { lines: Line[] }
interface Person { colour: string }

const weft = new Weft("/weft", { transports: ["websocket", "sse"], maxDelay: 5_000, maxQueue: 10 });
const same: Weft = new Default();
const room = weft.subscribe<Line, Welcome, Person>("room.1", { params: async () => ({ token: "t" }) });

const off: () => void = room.on("message", (line, { epoch, offset, event }) => {
  const text: string = line.text;
  const place: string | undefined = epoch ?? event;
  const number: number | undefined = offset;
  console.log(text, place, number);
});
off();
room.on("presence", (here, change) => {
  const one: Presence<Person> | undefined = here[0];
  console.log(one?.data.colour, change?.event === "join" && change.user.id);
});
room.on("recovered", (count: number) => console.log(count));
room.on("reset", () => console.log(room.data?.lines[0]?.text));
room.on("missed", (count) => console.log(count + 1));
room.on("state", (state, why) => console.log(state === "unsubscribed" && why?.code === "forbidden"));
weft.on("state", (state, { delay = 0, transport }) => console.log(state === "waiting" && delay / 1000, transport === "sse"));
weft.on("error", (error: WeftError) => console.log(error.code.length, error.message));

async function talk(it: Room<Line>): Promise<void> {
  const place = await it.publish({ text: "hi" }, { event: "say", timeout: 100 });
  console.log(place?.offset);
  const sum = await it.call<number>("add", [1, 2], { timeout: 1_000 });
  console.log(sum.toFixed());
  await it.publish(null, { volatile: true });
  it.unsubscribe();
}
void talk(room);
const since = { epoch: room.epoch ?? "", offset: room.offset ?? 0 };
same.subscribe("room.2", { since });
same.close();
same.connect();

// @ts-expect-error no such event
room.on("mesage", () => {});
// @ts-expect-error no such option
new Weft("/weft", { delay: 1 });
// @ts-expect-error no such transport
new Weft("/weft", { transports: ["smoke"] });
// @ts-expect-error a line has no number
room.on("message", (line) => line.number);
// @ts-expect-error only weft.js sets it
room.state = "subscribed";
// @ts-expect-error a topic is a string
weft.subscribe(7);
// @ts-expect-error something has to be said
room.publish();
