// Package ledger keeps the account of decisions and events: an append-only
// Merkle tree of entries (RFC 6962 hashing) with signed checkpoints (C2SP
// tlog-checkpoint in a signed note), so that nothing in it can be changed or
// taken away unnoticed by whoever remembers a checkpoint (DESIGN, invariant I7).
//
// # Files of a ledger
//
// entries.jsonl has one leaf a line, in order, each ended by a line feed; at
// most 1 MiB a line. A leaf is a JSON object without white space and with its
// keys in this order:
//
//	v        1
//	time     RFC 3339 in UTC, with the nanoseconds that it has
//	kind     what happened, such as "recording.start"
//	session  the recording's id, where it is about one
//	ref      an object of strings, sorted by key: public facts (digests,
//	         numbers, states), never a name or an address; absent when empty
//	digest   SHA-256 of the body's plain text in lower-case hexadecimal, where
//	         the entry has a body
//
// The leaf's hash is that of the line without its line feed,
// SHA-256(0x00 || line); an inner node's is SHA-256(0x01 || left || right)
// (RFC 6962, section 2.1).
//
// bodies/YYYY-MM-DD.jsonl has what names people and places, in a file for each
// day (UTC) of the leaves' time: a line "DIGEST BODY" for each body, at most
// 1 MiB. DIGEST is that of the leaf. BODY is base64 (RFC 4648, section 4, with
// padding) of a random 12-byte nonce and the AES-256-GCM ciphertext with its
// tag, under the body key, with the 64 characters of DIGEST as additional data.
// The plain text is a JSON object with the keys salt (32 random bytes in
// hexadecimal), user, target, login, source and detail, those that apply.
// Removing a file erases the details of that day; the tree stays whole, and as
// the salt went with them, a digest does not tell whether a guess is right. A
// line that is no body (a crash can leave one) means nothing, and neither does
// a body that no leaf names.
//
// checkpoint is the newest signed checkpoint, a signed note: three lines (the
// origin, which is the key's name; the number of leaves; the root in base64),
// an empty one, and a signature line. It is replaced as a whole.
//
// hashes has the hash of each leaf that a checkpoint covers, 32 bytes each, in
// order. It proves nothing and may be missing: it is there to find the first
// bad leaf once the tree is known to be bad, which it can where its own root is
// the signed one. It is made anew at a start where it does not fit.
//
// torn-INDEX-DIGEST holds bytes that a crash left behind the last whole leaf:
// INDEX is the number of the leaf that stands in their place, of kind
// ledger.torn, and DIGEST begins as their SHA-256 in that leaf's ref. Nobody
// was told that they were durable.
//
// Files whose names end in .tmp are not yet published.
//
// # Order of writing
//
// Bodies are written and fsynced, then leaves are written and fsynced, then
// those who asked for them are told. Within a second, on demand and at the end
// follows a checkpoint: staged, fsynced, renamed, its directory fsynced. It
// covers only leaves that this process has fsynced, so it is never ahead of
// them. Processes that add to one ledger take turns through flock on
// entries.jsonl, and each takes in what others added before it adds.
//
// # At the start
//
// The tree is computed anew from all leaves and compared with the checkpoint
// beside them and with those that places outside remember. Leaves beyond the
// checkpoint beside them must be leaves; what is none, and what follows it, was
// torn by a crash.
//
// # Copies
//
// A copy is a directory of entries-FROM-TO.jsonl, each with the lines of leaf
// FROM up to, not including, leaf TO, counted from 0; and checkpoint-SIZE, a
// checkpoint that covers SIZE leaves. Numbers have 16 decimal digits. Files may
// overlap. Bodies are not copied, so that erasing them erases them.
//
// # Proofs
//
// A proof is a JSON object: checkpoint is a signed note, leaves is a list of
// objects with index, leaf (its line) and path (the audit path of RFC 6962,
// section 2.1.1, from the leaf up, each hash in base64).
package ledger
