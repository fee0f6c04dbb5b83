package portal

import (
	"html/template"
	"net/http"

	"gatehouse/internal/page"
)

// homePage is the data of the "home" page.
type homePage struct {
	Username  string // empty when nobody is signed in
	Endpoints []Endpoint
	Guides    []guide
	Down      map[string]bool // targets that are not available now; for people who are signed in
}

// guide carries its link as one that may have a scheme of the client's own, such as cursor://, which the template
// would take out of a plain string. Links are ours; nobody outside can add one.
type guide struct {
	Guide
	Link template.URL
}

func (p *Portal) home(w http.ResponseWriter, r *http.Request) error {
	h := homePage{}
	for _, g := range p.Guides {
		h.Guides = append(h.Guides, guide{g, template.URL(g.Link)})
	}
	signedIn, ok := p.SignIn.Current(r)
	if ok {
		h.Username = signedIn.Person.Label()
		h.Down = map[string]bool{}
		for _, t := range p.Targets() {
			h.Down[t.Name] = t.State == "down"
		}
	}
	for _, e := range p.Endpoints {
		if !ok {
			e.Targets = nil // what is behind an endpoint is for people who belong here
		}
		h.Endpoints = append(h.Endpoints, e)
	}
	return page.Render(w, r, http.StatusOK, "home", h)
}
