"""Where the files live: a facade like that of Jumpstarter's OpenDAL client, over the directory and the copying."""
