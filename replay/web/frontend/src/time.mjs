// The player leaves out idle time beyond a limit, so its clock runs behind the
// recording's. shiftedTime says what the player's clock shows at a time of the
// recording (both in seconds); text is the asciicast v3 that it plays.
export function shiftedTime(text, seconds, idleLimit) {
  let time = 0;
  let shift = 0;
  const intervals = /^\[\s*([\d.eE+-]+)/gm;
  for (let match; (match = intervals.exec(text)) !== null; ) {
    const interval = Number(match[1]);
    if (!(interval >= 0)) continue;
    if (time + interval > seconds) {
      // The wanted moment lies in this pause, of which only a part is shown.
      return time - shift + Math.min(seconds - time, idleLimit);
    }
    time += interval;
    if (interval > idleLimit) shift += interval - idleLimit;
  }
  return time - shift;
}

// firstOutput is the time of the first output in the asciicast v3 text, in
// seconds of the recording; 0 when there is none.
export function firstOutput(text) {
  let time = 0;
  for (const match of text.matchAll(/^\[\s*([\d.eE+-]+)\s*,\s*"(.)"/gm)) {
    time += Number(match[1]);
    if (match[2] === "o") return time;
  }
  return 0;
}
