// Package redact masks secrets in what a terminal session shows, as it is shown.
//
// A [Masker] sits in the stream of one session's output. It passes every byte
// on unchanged and says which of them a viewer must not see; [View] puts
// asterisks in their place. The same View runs on the wire and on a replay, so
// both show the same. The record keeps the raw bytes beside the masks.
//
// # How
//
// A rule has an anchor (AKIA, password, -----BEGIN, ://) and a body. All anchors
// are found by one automaton over bytes; what follows one is judged character
// by character. Nothing is held back before an anchor is complete, and anchors
// are never masked. Behind one, text is held until it is clear whether it is a
// secret, for at most Config.HoldBytes (and up to three bytes of a cut
// character) and Config.HoldTime; from then on each character is masked or
// passed on as it comes. None of this depends on how
// the stream was cut into reads.
//
// The text that is judged is what stands before the cursor in its line, not
// what came last: escape sequences, wraps at the right margin, overwriting,
// insertion and movements within the paragraph are followed by a model of that
// one line.
//
// # When time runs out
//
// If HoldTime passes before a body is recognised, as it does when someone types,
// what is held is masked, and the rest of the body as it comes; an innocent word
// behind an anchor may then be partly masked. Three exceptions show it instead,
// because they are typed all day: up to five digits behind ://host: (a port), a
// line within a private key that has other characters than one, such as a
// prompt after a key that was cut short, and custom rules without a literal
// beginning, whose matches may begin anywhere.
//
// # What is not promised
//
// We mask what we recognise. Not recognised are: secrets in another encoding
// (base64, hex, percent), folded over lines that do not wrap, or drawn piece by
// piece in another order than they are read; the part of a secret that is shown
// while it is not yet, or no longer, complete, such as a key identifier that is
// being edited; the middle of a private key whose BEGIN line is not shown; values
// that stand behind a keyword by layout only (tables, --password VALUE); values
// shorter than two characters (password) or four (secret, token, key); the words
// in stopWords; text in window titles and other strings that are not cells.
package redact
