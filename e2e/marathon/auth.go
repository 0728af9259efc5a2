package marathon

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Token is a token of DC/OS that expires after a while.
func (s *Sim) Token(life time.Duration) string {
	s.enter()
	defer s.leave()
	token := "jwt-" + s.newID()
	s.tokens[token] = s.time.Add(life)
	return token
}

// admit refuses whoever may not come in, with a page as the proxies in front do; nil if one may.
func (s *Sim) admit(r *http.Request) *answer {
	if s.opts.User != "" {
		if user, password, ok := r.BasicAuth(); !ok || user != s.opts.User || password != s.opts.Password {
			page := htmlPage(http.StatusUnauthorized)
			page.header = map[string]string{"WWW-Authenticate": `Basic realm="Mesosphere"`}
			return page
		}
	}
	if s.opts.DCOS {
		if !strings.HasPrefix(r.URL.Path, "/marathon/") {
			return htmlPage(http.StatusNotFound)
		}
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "token=")
		if expires, known := s.tokens[token]; !known || !s.time.Before(expires) {
			return htmlPage(http.StatusUnauthorized)
		}
	}
	return nil
}

// htmlPage is an error as a web server or proxy shows it.
func htmlPage(status int) *answer {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	return &answer{status: status, kind: "text/html;charset=iso-8859-1", raw: "<html><head><title>" + title + "</title></head><body><h1>" + title + "</h1></body></html>"}
}
