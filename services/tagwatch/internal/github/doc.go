// Package github knows GitHub, github.com and Enterprise: it lists tags, fetches
// archives, checks signatures and reports back, within the budget of its
// credentials. It is the only code that imports a client of GitHub.
//
// GitHub is asked through one client per credential, which shares one limiter:
// whatever GitHub says of its limits, in any of the shapes it has for that, holds
// for every call of the credential. No call waits for long; a caller that must
// wait gets a [watch.LimitError] that says until when.
//
// A token goes to the API's own host and to no other. Archives come from a
// second host by a link of their own, without it.
package github
