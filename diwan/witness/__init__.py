"""A witness (c2sp.org/tlog-witness): a process of an outside party's, which sees that logs only grow and says so.

It has nothing of the service's: a folder with its own key, the keys of the logs that it follows, and what it cosigned
last of each. So nobody can show two people two histories, and have both cosigned.
"""
