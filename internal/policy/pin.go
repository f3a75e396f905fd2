package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// pin is a principal that is known by its unique id alone, whatever ARN it was
// written with. A session's id is the role's, a colon and its name.
type pin struct{ arn, id string }

func (ps *principals) hasID(id string) bool {
	return slices.Contains(ps.ids, id) || slices.ContainsFunc(ps.pins, func(p pin) bool { return p.id == id })
}

// span is where a string stands in a document, quotes and all.
type span struct {
	text       string
	start, end int
}

func spans(n *node) []span {
	if n.kind == kindString {
		return []span{{n.text, n.start, n.end}}
	}
	var list []span
	for i := range n.items {
		if n.items[i].kind == kindString {
			list = append(list, spans(&n.items[i])...)
		}
	}
	return list
}

// NamedPrincipals returns the users, roles and sessions of an account that the
// document names: ARNs and unique ids, each once. Unique ids are of any account.
func (p *Policy) NamedPrincipals(account string) []string {
	var names []string
	for _, s := range p.named {
		one := validUniqueID(s.text) ||
			strings.HasPrefix(s.text, "arn:aws:iam::"+account+":user/") || strings.HasPrefix(s.text, "arn:aws:iam::"+account+":role/") ||
			strings.HasPrefix(s.text, "arn:aws:sts::"+account+":assumed-role/")
		if one && !slices.Contains(names, s.text) {
			names = append(names, s.text)
		}
	}
	return names
}

// Pin returns the policy with the principals that ids has known by their ids
// alone: another one of the same name is not meant. A principal whose id is ""
// is nobody.
func (p *Policy) Pin(ids map[string]string) *Policy {
	q := *p
	q.statements = slices.Clone(p.statements)
	q.allow, q.deny = nil, nil
	for i := range q.statements {
		s := &q.statements[i]
		s.principals.pin(ids)
		if s.effect == Allow {
			q.allow = append(q.allow, s)
		} else {
			q.deny = append(q.deny, s)
		}
	}
	return &q
}

func (ps *principals) pin(ids map[string]string) {
	ps.pins = slices.Clone(ps.pins)
	rest := func(arns []string) []string {
		var left []string
		for _, arn := range arns {
			id, found := ids[arn]
			switch {
			case !found:
				left = append(left, arn)
			case id == "":
				ps.pins = append(ps.pins, pin{arn, "gone"})
			default:
				if _, session, ok := strings.Cut(arn, ":assumed-role/"); ok && strings.HasPrefix(arn, "arn:aws:sts:") {
					id += ":" + session[strings.IndexByte(session, '/')+1:]
				}
				ps.pins = append(ps.pins, pin{arn, id})
			}
		}
		return left
	}
	ps.callers, ps.roles = rest(ps.callers), rest(ps.roles)
}

// Rename returns the document with AWS principals written in other words. It is
// for people to read: the policy is as it was.
func (p *Policy) Rename(words map[string]string) []byte {
	var b bytes.Buffer
	end := 0
	for _, s := range p.named {
		word, ok := words[s.text]
		if !ok {
			continue
		}
		quoted, _ := json.Marshal(word) // a string always encodes
		b.Write(p.source[end:s.start])
		b.Write(quoted)
		end = s.end
	}
	b.Write(p.source[end:])
	return b.Bytes()
}
