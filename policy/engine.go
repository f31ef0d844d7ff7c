package policy

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// schemaText says which entities, attributes and actions policies may name.
//
//go:embed schema.cedarschema
var schemaText []byte

var validator = sync.OnceValues(func() (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, err
	}
	r, err := s.Resolve()
	if err != nil {
		return nil, err
	}
	return validate.New(r), nil
})

// maxPolicyFile bounds a policy file, in bytes.
const maxPolicyFile = 4 << 20

// Engine decides by one set of policies. It never changes, so it may be used
// by any number of goroutines.
type Engine struct {
	name        string
	digest      string // SHA-256 of the source, in hex
	set         cedar.PolicyMap
	obligations map[cedar.PolicyID]Obligations
}

// Load reads the policy file at path. The error names file, line and column.
func Load(path string) (*Engine, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, &SourceError{File: path, Msg: "the policy file cannot be read: " + fileError(err)}
	}
	if !st.Mode().IsRegular() || st.Size() > maxPolicyFile {
		return nil, fmt.Errorf("%s: want a file of at most %d bytes", path, maxPolicyFile)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, src)
}

// fileError drops the path, which the caller names.
func fileError(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// Parse reads policies in Cedar's syntax and checks them against the schema.
func Parse(name string, src []byte) (*Engine, error) {
	list, err := cedar.NewPolicyListFromBytes(name, src)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	v, err := validator()
	if err != nil {
		return nil, err
	}
	e := &Engine{name: name, digest: fmt.Sprintf("%x", sha256.Sum256(src)), set: cedar.PolicyMap{}, obligations: map[cedar.PolicyID]Obligations{}}
	for _, p := range list {
		pos := p.Position()
		at := fmt.Sprintf("%s:%d:%d", name, pos.Line, pos.Column)
		id := policyID(name, p)
		if _, taken := e.set[id]; taken {
			id = cedar.PolicyID(at + " " + string(p.Annotations()["id"]))
		}
		if err := v.Policy(string(id), (*ast.Policy)(p.AST())); err != nil {
			return nil, schemaError(name, src, pos, err)
		}
		o, err := parseAnnotations(p.Annotations())
		if err != nil {
			return nil, &SourceError{File: name, Line: pos.Line, Column: pos.Column, Msg: err.Error()}
		}
		e.set[id], e.obligations[id] = p, o
	}
	return e, nil
}

// policyID names a policy as people find it: "FILE:LINE", and its @id.
func policyID(name string, p *cedar.Policy) cedar.PolicyID {
	id := fmt.Sprintf("%s:%d", filepath.Base(name), p.Position().Line)
	if own := p.Annotations()["id"]; own != "" {
		id += " @" + string(own)
	}
	return cedar.PolicyID(id)
}

// Decide answers r: denied unless a policy permits and none forbids. A policy
// that cannot be evaluated denies too, since cedar skips a forbid that fails.
func (e *Engine) Decide(r Request) Decision {
	entities, req := translate(r)
	verdict, diag := cedar.Authorize(e.set, entities, req)
	d := Decision{Allowed: verdict == cedar.Allow}
	for _, reason := range diag.Reasons {
		d.Policies = append(d.Policies, string(reason.PolicyID))
	}
	switch {
	case len(diag.Errors) > 0:
		d.Allowed = false
		d.Reason = fmt.Sprintf("denied: the policy at %s cannot be evaluated: %s", diag.Errors[0].PolicyID, diag.Errors[0].Message)
	case d.Allowed:
		d.Reason = "permitted by " + strings.Join(d.Policies, ", ")
		for _, reason := range diag.Reasons {
			d.Obligations = d.Obligations.strictest(e.obligations[reason.PolicyID])
		}
	case len(d.Policies) > 0:
		d.Reason = "forbidden by " + strings.Join(d.Policies, ", ")
	default:
		d.Reason = "denied: no policy permits it"
	}
	return d
}

// Digest is the SHA-256, in hex, of the source that e was parsed from.
func (e *Engine) Digest() string { return e.digest }

// Explanation is a decision with the request that it answers.
type Explanation struct {
	Request  Request
	Decision Decision
}

// Explain is Decide for people.
func (e *Engine) Explain(r Request) Explanation { return Explanation{r, e.Decide(r)} }

// String says in two lines what was asked and what decided.
func (x Explanation) String() string {
	r := x.Request
	where := "the bastion"
	if r.Target.Name != "" {
		where = string(r.Login) + "@" + r.Target.Name
	}
	answer := "no"
	if x.Decision.Allowed {
		answer = "yes"
	}
	return fmt.Sprintf("may %s do %s on %s? %s\n%s", r.User, r.Action, where, answer, x.Decision.Reason)
}

// translate turns r into Cedar's terms.
func translate(r Request) (types.EntityMap, cedar.Request) {
	entities := types.EntityMap{}
	principal := addUser(entities, r.User)
	resource := cedar.NewEntityUID("Bastion", "bastion")
	if !onBastion(r.Action) {
		resource = cedar.NewEntityUID("Target", cedar.String(r.Target.Name))
		tags := types.RecordMap{}
		for k, v := range r.Target.Labels {
			tags[types.String(k)] = types.String(v)
		}
		entities[resource] = types.Entity{UID: resource, Tags: types.NewRecord(tags),
			Attributes: types.NewRecord(types.RecordMap{"name": types.String(r.Target.Name)})}
	} else {
		entities[resource] = types.Entity{UID: resource}
	}
	ctx := types.RecordMap{}
	if r.Login != "" {
		ctx["login"] = types.String(r.Login)
	}
	if !r.Owner.IsZero() {
		ctx["owner"] = addUser(entities, r.Owner)
	}
	if r.Source.IsValid() {
		if ip, err := types.ParseIPAddr(r.Source.Unmap().WithZone("").String()); err == nil {
			ctx["source"] = ip
		}
	}
	return entities, cedar.Request{Principal: principal, Action: cedar.NewEntityUID("Action", cedar.String(r.Action)),
		Resource: resource, Context: types.NewRecord(ctx)}
}

func addUser(entities types.EntityMap, u User) types.EntityUID {
	uid := cedar.NewEntityUID("User", cedar.String(u.Principal()))
	if _, known := entities[uid]; known {
		return uid
	}
	attrs := types.RecordMap{"issuer": types.String(u.Issuer), "subject": types.String(u.Subject)}
	if u.Name != "" {
		attrs["name"] = types.String(u.Name)
	}
	if u.Email != "" {
		attrs["email"] = types.String(u.Email)
	}
	var groups []types.EntityUID
	for _, g := range u.Groups {
		group := cedar.NewEntityUID("Group", cedar.String(g))
		entities[group] = types.Entity{UID: group}
		groups = append(groups, group)
	}
	entities[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(groups...), Attributes: types.NewRecord(attrs)}
	return uid
}
